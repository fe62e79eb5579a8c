//! The combinations judged against a store, and what the contract says to each.

use enroll_core::model::{Method, Reason};

use super::{Faults, cross, first};

/// What the store knows of the token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Known {
    Unknown,
    OtherDigest,
    Same,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Uses {
    Unlimited,
    OneShot,
    OneShotSpent,
    Counted,
    CountedSpent,
}

/// Which name is asked for, and which one the token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Naming {
    Unbound,
    UnboundAndAbsent,
    Bound,
    BoundAndAbsent,
    BoundToAnother,
}

/// The earlier redemption a store shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Earlier {
    None,
    Open,
    OpenForOneMoment,
    Closed,
    ADayAgo,
    OfAnotherKey,
    OfNoKey,
    OfAnotherToken,
    OfAnotherNode,
    OfAnotherName,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Name {
    Unknown,
    Pending,
    HeldByToken,
    HeldBySecret,
    DeletedBeforeMinting,
    DeletedAtMinting,
    DeletedAfterMinting,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) method: Method,
    pub(super) known: Known,
    pub(super) replaced: bool,
    pub(super) revoked: bool,
    pub(super) earlier: Earlier,
    pub(super) expired: bool,
    pub(super) uses: Uses,
    pub(super) naming: Naming,
    pub(super) signed: bool,
    pub(super) name: Name,
    pub(super) replace: bool,
    pub(super) fits_pattern: bool,
}

impl Case {
    const fn held(self) -> bool {
        matches!(self.name, Name::HeldByToken | Name::HeldBySecret)
    }

    pub(super) const fn absent(self) -> bool {
        matches!(self.naming, Naming::UnboundAndAbsent | Naming::BoundAndAbsent)
    }

    /// The lost answer is given again to the same token, key and name, while the window is open.
    fn redelivered(self) -> bool {
        let open = matches!(self.earlier, Earlier::Open | Earlier::OpenForOneMoment);
        open && self.held() && self.signed
    }

    /// Who may take a name.
    fn may_take(self) -> bool {
        let bound = matches!(self.naming, Naming::Bound | Naming::BoundAndAbsent);
        match self.name {
            Name::Unknown | Name::DeletedBeforeMinting => true,
            Name::Pending | Name::HeldByToken => bound,
            Name::HeldBySecret => bound || (self.method == Method::Secret && self.replace),
            Name::DeletedAtMinting | Name::DeletedAfterMinting => false,
        }
    }

    /// The contract's order of the checks, from the store on.
    pub(super) fn expected(self) -> Result<Expected, Reason> {
        let before: Faults = vec![
            (self.known == Known::Unknown, Reason::InvalidToken),
            (self.known == Known::OtherDigest, Reason::InvalidToken),
            (self.replaced, Reason::InvalidToken),
            (self.revoked, Reason::Revoked),
        ];
        let after: Faults = vec![
            (self.expired, Reason::Expired),
            (self.uses == Uses::OneShotSpent, Reason::AlreadyConsumed),
            (self.uses == Uses::CountedSpent, Reason::Exhausted),
            (self.naming == Naming::BoundToAnother, Reason::NameMismatch),
            (self.naming == Naming::UnboundAndAbsent, Reason::BadRequest),
            (!self.signed, Reason::BadCsr),
            (!self.may_take(), Reason::NameTaken),
            (!self.fits_pattern, Reason::Denied),
        ];
        match (first(before), self.redelivered(), first(after)) {
            (Some(reason), ..) | (None, false, Some(reason)) => Err(reason),
            (None, true, _) => Ok(Expected::Redelivered),
            (None, false, None) => Ok(Expected::Approved),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Expected {
    Approved,
    Redelivered,
}

const ANY_EARLIER: [Earlier; 10] = [
    Earlier::None,
    Earlier::Open,
    Earlier::OpenForOneMoment,
    Earlier::Closed,
    Earlier::ADayAgo,
    Earlier::OfAnotherKey,
    Earlier::OfNoKey,
    Earlier::OfAnotherToken,
    Earlier::OfAnotherNode,
    Earlier::OfAnotherName,
];

/// What every method has in common.
fn common(method: Method) -> Vec<Case> {
    let start = Case {
        method,
        known: Known::Same,
        replaced: false,
        revoked: false,
        earlier: Earlier::None,
        expired: false,
        uses: Uses::Unlimited,
        naming: Naming::Unbound,
        signed: true,
        name: Name::Unknown,
        replace: false,
        fits_pattern: true,
    };
    let cases = cross(vec![start], &ANY_EARLIER, |case, it| case.earlier = it);
    let cases = cross(cases, &[true, false], |case, it| case.signed = it);
    let names = [
        Name::Unknown,
        Name::Pending,
        Name::HeldByToken,
        Name::HeldBySecret,
        Name::DeletedBeforeMinting,
        Name::DeletedAtMinting,
        Name::DeletedAfterMinting,
    ];
    let cases = cross(cases, &names, |case, it| case.name = it);
    cross(cases, &[false, true], |case, it| case.replace = it)
}

pub(super) fn token_cases(method: Method) -> Vec<Case> {
    use Naming::{Bound, BoundAndAbsent, BoundToAnother, Unbound, UnboundAndAbsent};
    use Uses::{Counted, CountedSpent, OneShot, OneShotSpent, Unlimited};
    let known = [Known::Unknown, Known::OtherDigest, Known::Same];
    let cases = cross(common(method), &known, |case, it| case.known = it);
    let cases = cross(cases, &[false, true], |case, it| case.replaced = it);
    let cases = cross(cases, &[false, true], |case, it| case.revoked = it);
    let cases = cross(cases, &[false, true], |case, it| case.expired = it);
    let uses = [Unlimited, OneShot, OneShotSpent, Counted, CountedSpent];
    let cases = cross(cases, &uses, |case, it| case.uses = it);
    let namings = [Unbound, UnboundAndAbsent, Bound, BoundAndAbsent, BoundToAnother];
    let mut cases = cross(cases, &namings, |case, it| case.naming = it);
    // Without a name asked for there is none that another could differ from.
    cases.retain(|case| !(case.earlier == Earlier::OfAnotherName && case.absent()));
    cases
}

pub(super) fn secret_cases() -> Vec<Case> {
    cross(common(Method::Secret), &[true, false], |case, it| case.fits_pattern = it)
}
