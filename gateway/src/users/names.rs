//! What a name and a password may be.

use embermesh_dialects::Failure;

/// The longest name, in bytes.
pub const MAX_NAME: usize = 64;
/// The shortest password, in bytes.
pub const MIN_PASSWORD: usize = 8;
/// The longest password, in bytes: more would only be work to hash.
pub const MAX_PASSWORD: usize = 256;

/// Refuses what is no name.
pub(super) fn name(name: &str) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
        return Err(Failure::invalid(format!(
            "give a name of 1 to {MAX_NAME} letters, digits and ._-+@"
        )));
    }
    Ok(())
}

/// Refuses what is no password.
pub(super) fn password(password: &str) -> Result<(), Failure> {
    if !(MIN_PASSWORD..=MAX_PASSWORD).contains(&password.len()) {
        return Err(Failure::invalid(format!(
            "give a password of {MIN_PASSWORD} to {MAX_PASSWORD} bytes"
        )));
    }
    Ok(())
}
