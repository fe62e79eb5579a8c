//! How messages are buffered.

use std::marker::PhantomData;

use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// As [`ProstCodec`], with buffers of the size of what is said here: a message has some hundred bytes,
/// and the buffers of a stream live as long as it does, at rest too. Larger messages grow them.
pub(super) struct SmallCodec<T, U>(PhantomData<(T, U)>);

/// In bytes: what a buffer begins with, and how much is encoded before it is sent.
const BEGIN: usize = 512;
const SEND: usize = 16 * 1024;

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: prost::Message + Send + 'static,
    U: prost::Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BEGIN, SEND))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BEGIN, SEND))
    }
}
