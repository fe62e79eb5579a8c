//! Fixed-width base 62, digits `0-9A-Za-z` in that order of value, most significant first.
//!
//! Ours because no kept library writes a fixed width and refuses every second spelling.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Writes `value` as exactly `width` digits; `None` when it does not fit.
pub(super) fn encode_u128(mut value: u128, width: usize, out: &mut String) -> Option<()> {
    let mut digits = [b'0'; 22];
    let digits = digits.get_mut(..width)?;
    for slot in digits.iter_mut().rev() {
        *slot = DIGITS[(value % 62) as usize];
        value /= 62;
    }
    (value == 0).then(|| out.extend(digits.iter().map(|&b| char::from(b))))
}

/// Reads at most 21 digits, so that nothing can overflow.
pub(super) fn decode_u128(text: &str) -> Option<u128> {
    if text.is_empty() || text.len() > 21 {
        return None;
    }
    text.bytes().try_fold(0_u128, |sum, b| Some(sum * 62 + u128::from(value_of(b)?)))
}

/// The width of 32 bytes: 62^43 is the first power above 2^256.
pub(super) const WIDTH_256: usize = 43;

/// Writes 32 big-endian bytes as [`WIDTH_256`] digits.
pub(super) fn encode_256(bytes: &[u8; 32], out: &mut String) {
    let mut number = *bytes;
    let mut digits = [b'0'; WIDTH_256];
    for slot in digits.iter_mut().rev() {
        let mut rest = 0_u16;
        for byte in &mut number {
            let part = rest << 8 | u16::from(*byte);
            *byte = (part / 62) as u8;
            rest = part % 62;
        }
        *slot = DIGITS[usize::from(rest)];
    }
    out.extend(digits.iter().map(|&b| char::from(b)));
    zeroize::Zeroize::zeroize(&mut number);
    zeroize::Zeroize::zeroize(&mut digits);
}

/// Whether `text` is [`WIDTH_256`] digits of a number below 2^256.
pub(super) fn is_256(text: &str) -> bool {
    // Every text of digits no greater than the digits of 2^256 - 1: byte order is digit order.
    text.len() == WIDTH_256 && text.bytes().all(|b| value_of(b).is_some()) && text <= MAX_256
}

const MAX_256: &str = "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1";

fn value_of(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'Z' => Some(digit - b'A' + 10),
        b'a'..=b'z' => Some(digit - b'a' + 36),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_256_bit_number_is_the_bound() {
        let mut text = String::new();
        encode_256(&[0xff; 32], &mut text);
        assert_eq!(text, MAX_256);
        assert!(is_256(&text));
        assert!(is_256(&"0".repeat(43)));
        assert!(!is_256(&"z".repeat(43)));
        assert!(!is_256(&"0".repeat(42)));
        assert!(!is_256(&format!("{}-", "0".repeat(42))));
    }

    #[test]
    fn small_numbers_have_one_spelling() {
        let mut text = String::new();
        encode_256(&std::array::from_fn(|i| u8::from(i == 31) * 61), &mut text);
        assert_eq!(text, format!("{}z", "0".repeat(42)));
        let mut six = String::new();
        assert_eq!(encode_u128(62 * 62, 6, &mut six), Some(()));
        assert_eq!(six, "000100");
        assert_eq!(decode_u128(&six), Some(62 * 62));
        assert_eq!(encode_u128(62, 1, &mut six), None);
        assert_eq!(decode_u128(&"z".repeat(22)), None);
    }
}
