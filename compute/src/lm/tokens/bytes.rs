//! The letters that byte-level BPE writes bytes as (GPT-2's `bytes_to_unicode`):
//! printable bytes are themselves, the others follow from U+0100 on.

/// The letter of a byte.
pub(super) fn letter(byte: u8) -> char {
    let number = match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
        0..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte) - 0x7f,
        0xad => 0x143,
    };
    char::from_u32(number).unwrap_or('\u{fffd}')
}

/// The byte that a letter is written for.
pub(crate) fn byte(letter: char) -> Option<u8> {
    let number = u32::from(letter);
    let byte = match number {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => number,
        0x100..=0x120 => number - 0x100,
        0x121..=0x142 => number - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_letter_of_its_own() {
        for number in 0..=u8::MAX {
            assert_eq!(byte(letter(number)), Some(number));
        }
        assert_eq!(letter(b' '), 'Ġ');
        assert_eq!(letter(b'\n'), 'Ċ');
        assert_eq!(byte('€'), None);
    }
}
