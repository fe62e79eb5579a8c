//! Serial numbers of certificates.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

use super::{Entropy, Timestamp};

/// The serial number of a certificate: a positive integer of 1 to 20 bytes (RFC 5280, 4.1.2.2).
///
/// This, not a digest of the certificate, is what an issued leaf is looked up and revoked by: an
/// ECDSA signature can be rewritten into another valid one, which changes the digest and nothing
/// else. Kept without leading zeros, so that one number has one spelling; ordered as a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial {
    len: u8,
    /// The number in its first `len` bytes, zeros after.
    bytes: [u8; Self::MAX_LEN],
}

/// Why something is no serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SerialError {
    /// It is zero, or nothing at all.
    #[error("a serial number is above zero")]
    Zero,
    /// It has more than [`Serial::MAX_LEN`] bytes.
    #[error("a serial number has at most 20 bytes")]
    TooLong,
    /// The text is not hexadecimal.
    #[error("a serial number is written as pairs of hexadecimal digits")]
    Hex,
}

impl Serial {
    /// The most bytes a serial number has.
    pub const MAX_LEN: usize = 20;

    /// A new number of exactly [`Self::MAX_LEN`] bytes: 30 bits that count quarters of a second up to
    /// `at`, then 128 bits from `entropy`, which alone is what makes it unlike any other.
    ///
    /// The top bit is clear, so that the DER needs no byte for the sign; the next one is set, so
    /// that every number has the same length and none is zero. The count begins anew every eight and a
    /// half years. It says no more than the certificate's own dates; because of it the numbers of one
    /// moment lie together in an index.
    ///
    /// # Errors
    /// What `entropy` returned.
    pub fn generate(at: Timestamp, entropy: &dyn Entropy) -> std::io::Result<Self> {
        let mut bytes = [0; Self::MAX_LEN];
        let (moment, chance) = bytes.split_at_mut(4);
        // Of an instant before 1970 too the low bits are what counts.
        let quarters = (at.unix_millis() / 250) as u32;
        moment.copy_from_slice(&(quarters & 0x3fff_ffff | 0x4000_0000).to_be_bytes());
        entropy.fill(chance)?;
        Ok(Self { len: Self::MAX_LEN as u8, bytes })
    }

    /// Reads an unsigned big-endian number; leading zeros are dropped.
    ///
    /// # Errors
    /// [`SerialError::Zero`] and [`SerialError::TooLong`].
    pub fn from_bytes(number: &[u8]) -> Result<Self, SerialError> {
        let zeros = number.iter().take_while(|&&byte| byte == 0).count();
        let number = &number[zeros..];
        if number.is_empty() {
            return Err(SerialError::Zero);
        }
        let mut bytes = [0; Self::MAX_LEN];
        bytes.get_mut(..number.len()).ok_or(SerialError::TooLong)?.copy_from_slice(number);
        Ok(Self { len: number.len() as u8, bytes })
    }

    /// The number, big-endian, without leading zeros.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The number as pairs of lower-case hexadecimal digits, as `openssl x509 -serial` shows it
    /// in upper case.
    #[must_use]
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(self.as_bytes())
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    /// Reads pairs of hexadecimal digits, in either case: people paste what other tools print.
    fn from_str(text: &str) -> Result<Self, SerialError> {
        // Bounded before it is decoded; generous, because leading zeros are dropped.
        if text.len() > 4 * Self::MAX_LEN {
            return Err(SerialError::TooLong);
        }
        let number = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| SerialError::Hex)?;
        Self::from_bytes(&number)
    }
}

impl TryFrom<String> for Serial {
    type Error = SerialError;
    fn try_from(text: String) -> Result<Self, SerialError> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_hex()
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SystemEntropy;
    use proptest::prelude::*;

    /// Fills with one byte over and over.
    struct Constant(u8);

    impl Entropy for Constant {
        fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
            buffer.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn a_new_serial_is_positive_and_full_length_whatever_the_bytes_and_the_time() {
        for byte in [0x00, 0xff, 0x80, 0x3f] {
            for millis in [i64::MIN, -1, 0, 1_795_176_000_000, i64::MAX] {
                let at = Timestamp::from_unix_millis(millis);
                let serial = Serial::generate(at, &Constant(byte)).unwrap();
                assert_eq!(serial.as_bytes().len(), 20);
                assert_eq!(serial.as_bytes()[0] & 0xc0, 0x40, "{byte:x} {millis}");
                assert_eq!(serial.as_bytes()[4..], [byte; 16], "128 bits of chance");
            }
        }
        let at = Timestamp::from_unix_millis(0);
        let one = Serial::generate(at, &SystemEntropy).unwrap();
        assert_ne!(one, Serial::generate(at, &SystemEntropy).unwrap());
    }

    #[test]
    fn serials_of_one_moment_lie_together() {
        let of =
            |millis| Serial::generate(Timestamp::from_unix_millis(millis), &SystemEntropy).unwrap();
        let start = 1_795_176_000_000;
        assert_eq!(of(start).as_bytes()[..4], of(start + 249).as_bytes()[..4]);
        assert!(of(start) < of(start + 250));
    }

    #[test]
    fn zero_nothing_and_too_much_are_no_serials() {
        assert_eq!(Serial::from_bytes(&[]), Err(SerialError::Zero));
        assert_eq!(Serial::from_bytes(&[0; 30]), Err(SerialError::Zero));
        assert_eq!(Serial::from_bytes(&[1; 21]), Err(SerialError::TooLong));
        assert_eq!("".parse::<Serial>(), Err(SerialError::Zero));
        assert_eq!("1".parse::<Serial>(), Err(SerialError::Hex));
        assert_eq!("zz".parse::<Serial>(), Err(SerialError::Hex));
        assert_eq!("ff".repeat(21).parse::<Serial>(), Err(SerialError::TooLong));
        assert_eq!("ff".repeat(100_000).parse::<Serial>(), Err(SerialError::TooLong));
    }

    #[test]
    fn one_number_has_one_spelling() {
        let short = Serial::from_bytes(&[0, 0, 0xab]).unwrap();
        assert_eq!(short, Serial::from_bytes(&[0xab]).unwrap());
        assert_eq!((short.to_hex(), format!("{short:?}")), ("ab".into(), "ab".into()));
        assert_eq!("00AB".parse(), Ok(short));
        assert_eq!(serde_json::to_string(&short).unwrap(), "\"ab\"");
        assert_eq!(serde_json::from_str::<Serial>("\"ab\"").unwrap(), short);
    }

    proptest! {
        #[test]
        fn order_is_the_order_of_numbers(a in 1_u128.., b in 1_u128..) {
            let of = |n: u128| Serial::from_bytes(&n.to_be_bytes()).unwrap();
            prop_assert_eq!(of(a).cmp(&of(b)), a.cmp(&b));
            prop_assert_eq!(of(a).to_hex().parse(), Ok(of(a)));
        }
    }
}
