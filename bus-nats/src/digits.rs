//! Numbers in the text of subjects: read and written for every message, which formatting and parsing are too slow for.

/// The number that these digits write; none for anything else.
pub(crate) fn read(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The number behind the last dot of a subject.
pub(crate) fn last(subject: &str) -> Option<u64> {
    let subject = subject.as_bytes();
    let dot = subject.iter().rposition(|byte| *byte == b'.');
    read(&subject[dot.map_or(0, |dot| dot + 1)..])
}

/// Writes a number behind what `text` holds.
pub(crate) fn push(text: &mut String, mut number: u64) {
    let mut digits = ['0'; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        // One digit is less than 256.
        digits[first] = char::from(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back() {
        for number in [0, 7, 10, 1_700_000_000_123_456_789, u64::MAX] {
            let mut text = "a.b.".to_owned();
            push(&mut text, number);
            assert_eq!(text, format!("a.b.{number}"));
            assert_eq!(last(&text), Some(number));
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for wrong in ["", "a.", "a.x", "a.1x", "a.-1", "a.18446744073709551616"] {
            assert_eq!(last(wrong), None, "{wrong}");
        }
        assert_eq!(last("7"), Some(7));
    }
}
