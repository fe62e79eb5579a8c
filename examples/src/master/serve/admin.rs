//! The token of the operator on this machine.

use enroll_core::master::{Enroller, OperatorError};
use enroll_core::model::{AdminToken, Entropy as _, Role, SystemEntropy, TokenPrefix};

use super::super::failure::Failure;
use super::data_dir::DataDir;
use super::files;

/// Makes sure that whoever reads the data directory is an operator.
///
/// Only a file that is not there is made: its token then belongs to a new operator. A token in a file
/// that the store does not know was withdrawn, and stays so, unless the store knows no operator at
/// all.
pub(super) async fn ensure(data: &DataDir, enroller: &Enroller) -> Result<(), Failure> {
    let path = data.admin_token();
    let unusable = |cause| {
        Failure::new(format!("cannot use the admin token {}", path.display()))
            .because(cause)
            .next("Make it a file of this user's with mode 0600, or move it away to get another.")
    };
    let known = enroller.admins().await.map_err(unavailable)?;
    match files::read_private(&path).map_err(unusable)? {
        Some(text) => {
            let token = AdminToken::presented(text.trim().to_owned());
            if known.is_empty() {
                return add(enroller, NAME, &token).await;
            }
            if enroller.admin(&token).await.map_err(|e| unavailable(e.into()))?.is_none() {
                tracing::warn!(path = %path.display(), "this admin token is no operator's: move it away and start again to get another");
            }
            Ok(())
        }
        None => {
            let token = AdminToken::generate(&TokenPrefix::default(), &SystemEntropy::new());
            let token = token.map_err(unusable)?;
            // On disk first: a token that is only in the store would be lost in a crash.
            files::write(&path, 0o600, &format!("{}\n", token.expose())).map_err(unusable)?;
            let taken = |name: &str| known.iter().any(|admin| admin.name == name);
            let name = if taken(NAME) { fresh_name()? } else { NAME.to_owned() };
            add(enroller, &name, &token).await
        }
    }
}

async fn add(enroller: &Enroller, name: &str, token: &AdminToken) -> Result<(), Failure> {
    enroller.ensure_admin(name, Role::Admin, token).await.map_err(unavailable)
}

/// A name no operator has.
fn fresh_name() -> Result<String, Failure> {
    let mut random = [0; 4];
    SystemEntropy::new()
        .fill(&mut random)
        .map_err(|cause| Failure::new("no random bytes for an operator's name").because(cause))?;
    Ok(format!("{NAME}-{:08x}", u32::from_be_bytes(random)))
}

fn unavailable(cause: OperatorError) -> Failure {
    Failure::new("cannot look up the operators in the store").because(cause)
}

/// The first operator's.
const NAME: &str = "admin";
