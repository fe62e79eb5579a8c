//! Auto-enrollment: a setting every master of a store shares, changed while they run.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::enroller::Enroller;
use super::error::Error;
use super::operator::OperatorError;
use crate::decision::{AutoEnrollment, EnrollmentSecret};
use crate::model::{Event, NamePattern, SharedSecret, SharedSecretDigest, Timestamp, What};

/// Auto-enrollment as it may be shown: no secret, no digest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AutoEnrollmentView {
    /// Whether it is on.
    pub enabled: bool,
    /// When the present secret was set; `None` where none ever was.
    pub secret_set_at: Option<Timestamp>,
    /// Until when the secret before it is accepted.
    pub previous_valid_until: Option<Timestamp>,
    /// Whether it may replace an identity that it made itself.
    pub replace: bool,
    /// Names it may give; empty is any.
    pub name_patterns: Vec<NamePattern>,
}

/// A wish to change auto-enrollment. What is absent stays.
#[derive(Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a bag of optional wishes, built with `..default()`")]
pub struct AutoEnrollmentChange {
    /// Switches it on or off.
    pub enabled: Option<bool>,
    /// Sets a new secret; the present one becomes the previous one.
    pub secret: Option<SharedSecret>,
    /// How long the secret that was in force stays accepted beside the new one; absent: not at all.
    pub previous_valid: Option<Duration>,
    /// Whether it may replace an identity that it made itself.
    pub replace: Option<bool>,
    /// Names it may give; empty is any.
    pub name_patterns: Option<Vec<NamePattern>>,
}

impl AutoEnrollmentChange {
    /// The longest grace of a previous secret: 30 days.
    pub const MAX_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    /// The most name patterns.
    pub const MAX_PATTERNS: usize = 64;
}

impl Enroller {
    /// Auto-enrollment as it stands in the store.
    ///
    /// # Errors
    /// [`OperatorError::Failed`].
    pub async fn auto_enrollment(&self) -> Result<AutoEnrollmentView, OperatorError> {
        let (auto, _) = self.stored_auto().await?;
        Ok(view(&auto, self.clock.now()))
    }

    /// Changes auto-enrollment, for every master of the store.
    ///
    /// # Errors
    /// [`OperatorError::Invalid`] for a change that cannot be; [`OperatorError::Conflict`] when
    /// another operator changed it at the same moment.
    pub async fn change_auto_enrollment(
        &self,
        change: AutoEnrollmentChange,
        actor: &str,
    ) -> Result<AutoEnrollmentView, OperatorError> {
        let _turn = self.auto_turn.lock().await;
        let (mut auto, version) = self.stored_auto().await?;
        let at = self.stamps.next(&*self.clock);
        apply(&mut auto, change, at)?;
        let value = serde_json::to_string(&Stored::of(&auto)).map_err(Error::broken)?;
        let event = Event::by(at, actor, What::SettingChanged { key: KEY.to_owned() });
        if !self.store.put_setting(KEY, value, version, event.clone()).await? {
            return Err(OperatorError::Conflict(
                "Another operator changed auto-enrollment at this moment: look at it again.".into(),
            ));
        }
        self.tell(&event);
        let shown = view(&auto, at);
        self.keep_auto(auto);
        Ok(shown)
    }

    /// Reads the settings again that this master keeps in memory.
    ///
    /// # Errors
    /// [`Error`] when the store cannot say; what was known stays in force.
    pub async fn reload_settings(&self) -> Result<(), Error> {
        let _turn = self.auto_turn.lock().await;
        let (auto, _) = self.stored_auto().await?;
        self.keep_auto(auto);
        Ok(())
    }

    /// Auto-enrollment as this master knows it: from memory, so that a wrong secret never reaches
    /// the store. Only a master that never read its settings reads them here.
    pub(super) async fn known_auto(&self) -> Result<Arc<AutoEnrollment>, Error> {
        let known = self.auto.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(auto) = known {
            return Ok(auto);
        }
        self.reload_settings().await?;
        let known = self.auto.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(known.unwrap_or_default())
    }

    fn keep_auto(&self, auto: AutoEnrollment) {
        *self.auto.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(auto));
    }

    async fn stored_auto(&self) -> Result<(AutoEnrollment, u64), Error> {
        let Some(kept) = self.store.setting(KEY).await? else {
            return Ok((AutoEnrollment::default(), 0));
        };
        let stored: Stored = serde_json::from_str(&kept.value).map_err(Error::broken)?;
        Ok((
            stored.read().ok_or_else(|| Error::broken("an unknown version of a setting"))?,
            kept.version,
        ))
    }
}

/// The key of the setting.
const KEY: &str = "auto_enrollment";
/// Secrets accepted at once: the present one and the one before it.
const SECRETS: usize = 2;

fn apply(
    auto: &mut AutoEnrollment,
    change: AutoEnrollmentChange,
    at: Timestamp,
) -> Result<(), OperatorError> {
    let invalid = |text: &str| Err(OperatorError::Invalid(text.to_owned()));
    if change.previous_valid.is_some_and(|grace| grace > AutoEnrollmentChange::MAX_GRACE) {
        return invalid("`previous_valid_secs` is at most 2592000, 30 days.");
    }
    if change.name_patterns.as_ref().is_some_and(|p| p.len() > AutoEnrollmentChange::MAX_PATTERNS) {
        return invalid("`name_patterns` has at most 64 entries.");
    }
    match change.secret {
        Some(secret) => rotate(auto, &secret, change.previous_valid, at),
        None if change.previous_valid.is_some() => {
            return invalid("`previous_valid_secs` goes with a new `secret`.");
        }
        None => {}
    }
    auto.enabled = change.enabled.unwrap_or(auto.enabled);
    auto.replace = change.replace.unwrap_or(auto.replace);
    if let Some(patterns) = change.name_patterns {
        auto.name_patterns = patterns;
    }
    if auto.enabled && auto.secrets.is_empty() {
        return invalid(
            "Auto-enrollment needs a `secret` of at least 32 characters to be switched on.",
        );
    }
    Ok(())
}

/// Puts `secret` in force. One that is in force already stays as old as it is: a secret counts as
/// minted when it was itself first set.
fn rotate(
    auto: &mut AutoEnrollment,
    secret: &SharedSecret,
    grace: Option<Duration>,
    at: Timestamp,
) {
    let known = auto.secrets.iter().position(|kept| kept.digest.verify(secret).is_some());
    let mut next = match known {
        Some(place) => auto.secrets.remove(place),
        None => EnrollmentSecret { digest: secret.digest(), set_at: at, valid_until: None },
    };
    next.valid_until = None;
    match (grace, auto.secrets.first_mut()) {
        (Some(grace), Some(previous)) if known != Some(0) => {
            previous.valid_until = Some(at.after(grace));
        }
        (None, _) if known != Some(0) => auto.secrets.clear(),
        _ => {}
    }
    auto.secrets.insert(0, next);
    auto.secrets.truncate(SECRETS);
}

fn view(auto: &AutoEnrollment, at: Timestamp) -> AutoEnrollmentView {
    let previous = auto.secrets.get(1).and_then(|secret| secret.valid_until);
    AutoEnrollmentView {
        enabled: auto.enabled,
        secret_set_at: auto.secrets.first().map(|secret| secret.set_at),
        previous_valid_until: previous.filter(|until| *until > at),
        replace: auto.replace,
        name_patterns: auto.name_patterns.clone(),
    }
}

/// The setting's text, version 1.
#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    enabled: bool,
    secrets: Vec<StoredSecret>,
    replace: bool,
    name_patterns: Vec<NamePattern>,
}

#[derive(Serialize, Deserialize)]
struct StoredSecret {
    sha256: String,
    set_at: Timestamp,
    valid_until: Option<Timestamp>,
}

impl Stored {
    fn of(auto: &AutoEnrollment) -> Self {
        let secret = |secret: &EnrollmentSecret| StoredSecret {
            sha256: HEXLOWER.encode(secret.digest.as_bytes()),
            set_at: secret.set_at,
            valid_until: secret.valid_until,
        };
        Self {
            v: 1,
            enabled: auto.enabled,
            secrets: auto.secrets.iter().map(secret).collect(),
            replace: auto.replace,
            name_patterns: auto.name_patterns.clone(),
        }
    }

    fn read(self) -> Option<AutoEnrollment> {
        let secret = |kept: StoredSecret| {
            let bytes = HEXLOWER.decode(kept.sha256.as_bytes()).ok()?.try_into().ok()?;
            let digest = SharedSecretDigest::from_bytes(bytes);
            Some(EnrollmentSecret { digest, set_at: kept.set_at, valid_until: kept.valid_until })
        };
        (self.v == 1).then_some(())?;
        Some(AutoEnrollment {
            enabled: self.enabled,
            secrets: self.secrets.into_iter().map(secret).collect::<Option<_>>()?,
            replace: self.replace,
            name_patterns: self.name_patterns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SharedSecret {
        SharedSecret::presented(text.repeat(16))
    }

    fn set(auto: &mut AutoEnrollment, text: &str, grace: Option<u64>, at: i64) {
        let change = AutoEnrollmentChange {
            secret: Some(secret(text)),
            previous_valid: grace.map(Duration::from_secs),
            ..AutoEnrollmentChange::default()
        };
        apply(auto, change, Timestamp::from_unix_secs(at)).unwrap();
    }

    fn in_force(auto: &AutoEnrollment) -> Vec<(i64, Option<i64>)> {
        let secs = |at: Timestamp| at.unix_secs();
        auto.secrets.iter().map(|s| (secs(s.set_at), s.valid_until.map(secs))).collect()
    }

    #[test]
    fn a_rotation_keeps_the_previous_secret_only_for_its_grace() {
        let mut auto = AutoEnrollment::default();
        set(&mut auto, "ab", None, 10);
        assert_eq!(in_force(&auto), [(10, None)]);
        set(&mut auto, "cd", Some(60), 20);
        assert_eq!(in_force(&auto), [(20, None), (10, Some(80))]);
        set(&mut auto, "ef", None, 30);
        assert_eq!(in_force(&auto), [(30, None)]);
        set(&mut auto, "ef", None, 40);
        assert_eq!(in_force(&auto), [(30, None)], "the same secret stays as old as it is");
        set(&mut auto, "gh", Some(60), 50);
        set(&mut auto, "ef", Some(60), 60);
        assert_eq!(in_force(&auto), [(30, None), (50, Some(120))], "the other way round");
    }

    #[test]
    fn it_cannot_be_switched_on_without_a_secret() {
        let mut auto = AutoEnrollment::default();
        let on = || AutoEnrollmentChange { enabled: Some(true), ..Default::default() };
        let at = Timestamp::from_unix_secs(0);
        assert!(matches!(apply(&mut auto, on(), at), Err(OperatorError::Invalid(_))));
        set(&mut auto, "ab", None, 0);
        apply(&mut auto, on(), at).unwrap();
        assert!(auto.enabled);
    }

    #[test]
    fn what_is_stored_reads_back_and_shows_no_secret() {
        let mut auto = AutoEnrollment::default();
        set(&mut auto, "ab", None, 10);
        auto.name_patterns = vec![NamePattern::new("ingest-*").unwrap()];
        let text = serde_json::to_string(&Stored::of(&auto)).unwrap();
        assert!(!text.contains("abab"));
        let again: Stored = serde_json::from_str(&text).unwrap();
        let again = again.read().unwrap();
        assert!(again.secrets[0].digest.verify(&secret("ab")).is_some());
        assert_eq!(again.name_patterns, auto.name_patterns);
        assert!(!format!("{:?}", view(&auto, Timestamp::from_unix_secs(0))).contains("abab"));
    }
}
