//! What the old key signs to get a successor of a certificate that has run out.

use super::Sha256;

/// The message: `enroll-recover-v1`, a zero byte, the SHA-256 of the old certificate's DER, and the DER
/// of the new certificate request. It binds one request to one certificate, and can be mistaken for
/// nothing else that a key signs.
#[must_use]
pub fn recovery_message(certificate_der: &[u8], csr_der: &[u8]) -> Vec<u8> {
    let certificate = Sha256::of(certificate_der);
    [CONTEXT, certificate.as_bytes(), csr_der].concat()
}

const CONTEXT: &[u8] = b"enroll-recover-v1\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_what_both_sides_agreed_on() {
        let message = recovery_message(b"certificate", b"request");
        let (context, rest) = message.split_at(18);
        assert_eq!(context, b"enroll-recover-v1\0");
        assert_eq!(rest[..32], *Sha256::of(b"certificate").as_bytes());
        assert_eq!(rest[32..], *b"request");
    }
}
