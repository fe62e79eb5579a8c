//! Operators and their tokens; the root every master of a store shares.

use super::OperatorError;
use crate::master::{Enroller, Error};
use crate::model::{AdminRecord, AdminToken, Event, Role, What};

impl Enroller {
    /// Adds an operator; the token is shown this once.
    ///
    /// # Errors
    /// [`OperatorError::Conflict`] when the name is taken, [`OperatorError::Invalid`] when it is
    /// not 1 to 64 of `[A-Za-z0-9._@-]`.
    pub async fn add_admin(
        &self,
        name: &str,
        role: Role,
        actor: &str,
    ) -> Result<AdminToken, OperatorError> {
        let token = AdminToken::generate(&self.prefix, &*self.entropy)?;
        if self.insert_admin(name, role, &token, actor).await? {
            return Ok(token);
        }
        Err(OperatorError::Conflict(format!("There is an operator named {name} already.")))
    }

    /// Makes sure that `token` is an operator's: what a master does at its start with the token in
    /// its data directory.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn ensure_admin(
        &self,
        name: &str,
        role: Role,
        token: &AdminToken,
    ) -> Result<(), OperatorError> {
        if self.admin(token).await?.is_some() {
            return Ok(());
        }
        if self.insert_admin(name, role, token, name).await? || self.admin(token).await?.is_some() {
            return Ok(());
        }
        Err(OperatorError::Conflict(format!(
            "The store knows an operator named {name} with another token."
        )))
    }

    async fn insert_admin(
        &self,
        name: &str,
        role: Role,
        token: &AdminToken,
        actor: &str,
    ) -> Result<bool, OperatorError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
        // A path cannot hold `.` or `..`, so nobody could remove an operator of such a name.
        let pathless = name.bytes().all(|b| b == b'.');
        if pathless || !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(OperatorError::Invalid(
                "An operator's name is 1 to 64 letters, digits, dots, hyphens, underscores or @, and not only dots."
                    .into(),
            ));
        }
        let at = self.stamps.next(&*self.clock);
        let record =
            AdminRecord { name: name.to_owned(), role, digest: token.digest(), created_at: at };
        let event = Event::by(at, actor, What::AdminAdded { name: name.to_owned(), role });
        let added = self.store.insert_admin(record, event.clone()).await?;
        if added {
            self.tell(&event);
        }
        Ok(added)
    }

    /// The operator who holds `token`.
    ///
    /// # Errors
    /// [`Error`] when the store cannot say.
    pub async fn admin(&self, token: &AdminToken) -> Result<Option<AdminRecord>, Error> {
        Ok(self.store.admin(token.digest()).await?)
    }

    /// All operators, by name.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn admins(&self) -> Result<Vec<AdminRecord>, OperatorError> {
        Ok(self.store.admins().await?)
    }

    /// Removes an operator.
    ///
    /// # Errors
    /// [`OperatorError::Conflict`] for the last one with the role `admin`.
    pub async fn remove_admin(&self, name: &str, actor: &str) -> Result<(), OperatorError> {
        if !self.store.admins().await?.iter().any(|admin| admin.name == name) {
            return Err(OperatorError::NotFound("operator"));
        }
        let at = self.stamps.next(&*self.clock);
        let event = Event::by(at, actor, What::AdminRemoved { name: name.to_owned() });
        if !self.store.remove_admin(name, event.clone()).await? {
            return Err(OperatorError::Conflict(
                "The last operator with the role admin cannot be removed.".into(),
            ));
        }
        self.tell(&event);
        Ok(())
    }

    /// Makes sure that every master of this store hands out the same root.
    ///
    /// # Errors
    /// [`OperatorError::Conflict`] when the store belongs to another root.
    pub async fn claim_root(&self) -> Result<(), OperatorError> {
        let Some((_, fingerprint)) = self.ca() else { return Ok(()) };
        let ours = fingerprint.to_string();
        if self.store.setting(ROOT).await?.is_none() {
            let at = self.stamps.next(&*self.clock);
            let event = Event::new(at, What::SettingChanged { key: ROOT.to_owned() });
            // Losing this race to another master is fine: what stands is compared below.
            let _ours_first = self.store.put_setting(ROOT, ours.clone(), 0, event).await?;
        }
        match self.store.setting(ROOT).await? {
            Some(kept) if kept.value == ours => Ok(()),
            Some(kept) => Err(OperatorError::Conflict(format!(
                "The store belongs to the certificate authority {}, and this master has {ours}: start it with a copy of that authority's files, or give it a store of its own.",
                kept.value
            ))),
            None => Err(OperatorError::Failed(Error::contended("a setting was just written"))),
        }
    }
}

/// The setting that names the root.
const ROOT: &str = "ca.fingerprint";
