//! Stores around stores: what a test writes to have one operation misbehave and all others behave.

use std::future::Future;

use crate::store::{Store, StoreError};

/// A store that hands what it does not do itself to another.
///
/// [`decorate_store!`](crate::decorate_store) writes the handing on, trait by trait:
///
/// ```
/// use std::future::Future;
///
/// use enroll_core::store::{Finding, MemoryStore, Probe, StoreError};
/// use enroll_core::testing::{Decorator, Operation};
///
/// /// A store whose probe says what it likes.
/// struct Boastful(MemoryStore);
///
/// impl Decorator for Boastful {
///     type Inner = MemoryStore;
///
///     fn inner(&self) -> &MemoryStore {
///         &self.0
///     }
///
///     async fn around<T: Send>(
///         &self,
///         _operation: Operation,
///         call: impl Future<Output = Result<T, StoreError>> + Send,
///     ) -> Result<T, StoreError> {
///         call.await
///     }
/// }
/// enroll_core::decorate_store! {
///     Boastful: Redemptions Tokens Nodes Identities Commands Admins Settings Journal Masters
/// }
///
/// #[async_trait::async_trait]
/// impl Probe for Boastful {
///     async fn probe(&self) -> Result<(), StoreError> {
///         Ok(())
///     }
///
///     async fn diagnose(&self) -> Result<Vec<Finding>, StoreError> {
///         Ok(vec![Finding::good("everything", "It could not be better.")])
///     }
/// }
/// ```
pub trait Decorator: Send + Sync {
    /// The store inside.
    type Inner: Store + ?Sized;

    /// The store inside.
    fn inner(&self) -> &Self::Inner;

    /// Makes one call of `operation` on the store inside, which begins when `call` is awaited.
    ///
    /// # Errors
    /// What `call` returned, or what the decorator makes of it.
    fn around<T: Send>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> impl Future<Output = Result<T, StoreError>> + Send;
}

/// An operation of a store, named as its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the method of its name")]
pub enum Operation {
    LookUp,
    Redeem,
    Redeliver,
    Mint,
    Token,
    Tokens,
    Revoke,
    Redemptions,
    Node,
    Nodes,
    CountNodes,
    SetCordon,
    DeleteNode,
    Transition,
    RecordBeats,
    Member,
    Standing,
    Touched,
    MarkUsed,
    Successor,
    External,
    Renew,
    QueueCommand,
    OpenCommands,
    MarkDelivered,
    Finish,
    Command,
    Commands,
    InsertAdmin,
    Admin,
    Admins,
    RemoveAdmin,
    Setting,
    PutSetting,
    RecordAttempts,
    Attempts,
    RecordEvents,
    Events,
    TakeDuty,
    NextChange,
    Fence,
    AcknowledgeFence,
    Probe,
    Diagnose,
}

/// Implements traits of [`store`](crate::store) for a [`Decorator`], each method by handing on.
///
/// It takes the name of the type, or its generics and the type in brackets, then the traits. See
/// [`Decorator`].
#[macro_export]
macro_rules! decorate_store {
    ($store:ident: $($traits:ident)+) => {
        $crate::decorate_store! { [] [$store]: $($traits)+ }
    };
    ($generics:tt $store:tt:) => {};
    ($generics:tt $store:tt: $trait:ident $($traits:ident)*) => {
        $crate::__store_methods! { $generics $store $trait }
        $crate::decorate_store! { $generics $store: $($traits)* }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_methods {
    ($generics:tt $store:tt Redemptions) => { $crate::__hand_on! { $generics $store Redemptions {
        LookUp look_up(lookup: $crate::store::Lookup<'_>) -> $crate::model::Snapshot;
        Redeem redeem(redeem: $crate::store::Redeem) -> $crate::store::RedeemOutcome;
        Redeliver redeliver(redeliver: $crate::store::Redeliver) -> $crate::store::RedeliverOutcome;
    }}};
    ($generics:tt $store:tt Tokens) => { $crate::__hand_on! { $generics $store Tokens {
        Mint mint(mint: $crate::store::Mint) -> $crate::store::MintOutcome;
        Token token(id: $crate::model::TokenId) -> Option<$crate::model::TokenRecord>;
        Tokens tokens(
            page: $crate::store::Page<$crate::model::TokenId>,
            live_at: Option<$crate::model::Timestamp>
        ) -> Vec<$crate::model::TokenRecord>;
        Revoke revoke(
            id: $crate::model::TokenId,
            at: $crate::model::Timestamp,
            event: $crate::model::Event
        ) -> Option<$crate::store::RevokeOutcome>;
        Redemptions redemptions(
            id: $crate::model::TokenId,
            page: $crate::store::Page<$crate::model::RedemptionId>
        ) -> Vec<$crate::model::RedemptionRecord>;
    }}};
    ($generics:tt $store:tt Nodes) => { $crate::__hand_on! { $generics $store Nodes {
        Node node(name: &$crate::model::NodeName) -> Option<$crate::model::NodeRecord>;
        Nodes nodes(
            page: $crate::store::Page<$crate::model::NodeName>,
            filter: $crate::store::NodeFilter
        ) -> Vec<$crate::model::NodeRecord>;
        CountNodes count_nodes(
            at: $crate::model::Timestamp,
            stale_after: std::time::Duration
        ) -> Vec<$crate::store::NodeCount>;
        SetCordon set_cordon(
            name: &$crate::model::NodeName,
            cordoned: bool,
            event: $crate::model::Event
        ) -> Option<$crate::model::NodeRecord>;
        DeleteNode delete_node(
            name: &$crate::model::NodeName,
            at: $crate::model::Timestamp,
            event: $crate::model::Event
        ) -> $crate::store::DeleteOutcome;
        Transition transition(
            transition: $crate::store::Transition
        ) -> Option<$crate::model::NodeRecord>;
        RecordBeats record_beats(beats: Vec<$crate::store::Beat>) -> ();
    }}};
    ($generics:tt $store:tt Identities) => { $crate::__hand_on! { $generics $store Identities {
        Member member(key: $crate::store::IdentityKey) -> Option<$crate::store::Member>;
        Standing standing(
            ids: Vec<$crate::model::IdentityId>
        ) -> Vec<$crate::store::Standing>;
        Touched touched(since: Option<$crate::store::Mark>) -> $crate::store::Touched;
        MarkUsed mark_used(
            id: $crate::model::IdentityId,
            at: $crate::model::Timestamp
        ) -> $crate::store::UseOutcome;
        Successor successor(
            predecessor: $crate::model::IdentityId,
            key_digest: $crate::model::Sha256
        ) -> Option<$crate::model::IdentityRecord>;
        External external(
            kind: $crate::model::CredentialKind,
            external_ids: Vec<String>
        ) -> Vec<$crate::model::IdentityRecord>;
        Renew renew(renewal: $crate::store::Renewal) -> $crate::store::RenewOutcome;
    }}};
    ($generics:tt $store:tt Commands) => { $crate::__hand_on! { $generics $store Commands {
        QueueCommand queue_command(
            command: $crate::model::CommandRecord,
            event: $crate::model::Event
        ) -> $crate::store::QueueOutcome;
        OpenCommands open_commands(
            node_id: $crate::model::NodeId,
            limit: u32
        ) -> Vec<$crate::model::CommandRecord>;
        MarkDelivered mark_delivered(
            node_id: $crate::model::NodeId,
            ids: Vec<$crate::model::CommandId>,
            at: $crate::model::Timestamp
        ) -> ();
        Finish finish(finish: $crate::store::Finish) -> Option<$crate::model::CommandRecord>;
        Command command(id: $crate::model::CommandId) -> Option<$crate::model::CommandRecord>;
        Commands commands(
            name: &$crate::model::NodeName,
            page: $crate::store::Page<$crate::model::CommandId>
        ) -> Vec<$crate::model::CommandRecord>;
    }}};
    ($generics:tt $store:tt Admins) => { $crate::__hand_on! { $generics $store Admins {
        InsertAdmin insert_admin(
            admin: $crate::model::AdminRecord,
            event: $crate::model::Event
        ) -> bool;
        Admin admin(digest: $crate::model::BearerDigest) -> Option<$crate::model::AdminRecord>;
        Admins admins() -> Vec<$crate::model::AdminRecord>;
        RemoveAdmin remove_admin(name: &str, event: $crate::model::Event) -> bool;
    }}};
    ($generics:tt $store:tt Settings) => { $crate::__hand_on! { $generics $store Settings {
        Setting setting(key: &str) -> Option<$crate::store::Setting>;
        PutSetting put_setting(
            key: &str,
            value: String,
            expected: u64,
            event: $crate::model::Event
        ) -> bool;
    }}};
    ($generics:tt $store:tt Journal) => { $crate::__hand_on! { $generics $store Journal {
        RecordAttempts record_attempts(attempts: Vec<$crate::model::AttemptRecord>) -> ();
        Attempts attempts(
            name: &$crate::model::NodeName,
            page: $crate::store::Page<$crate::model::AttemptId>
        ) -> Vec<$crate::model::AttemptRecord>;
        RecordEvents record_events(events: Vec<$crate::model::Event>) -> ();
        Events events(
            page: $crate::store::Page<u64>
        ) -> Vec<$crate::model::JournalledEvent>;
    }}};
    ($generics:tt $store:tt Masters) => { $crate::__hand_on! { $generics $store Masters {
        TakeDuty take_duty(
            duty: &str,
            holder: $crate::model::MasterId,
            span: std::time::Duration
        ) -> bool;
        NextChange next_change(seen: u64) -> u64;
        Fence fence() -> Option<$crate::store::Fence>;
        AcknowledgeFence acknowledge_fence(
            epoch: u64,
            at: $crate::model::Timestamp,
            event: $crate::model::Event
        ) -> bool;
    }}};
    ($generics:tt $store:tt Probe) => { $crate::__hand_on! { $generics $store Probe {
        Probe probe() -> ();
        Diagnose diagnose() -> Vec<$crate::store::Finding>;
    }}};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __hand_on {
    ([$($generics:tt)*] [$($store:tt)+] $trait:ident {$(
        $operation:ident $method:ident($($arg:ident: $type:ty),*) -> $output:ty;
    )+}) => {
        // A method with a default would go unnoticed here and skip the decorator.
        #[deny(clippy::missing_trait_methods)]
        #[$crate::testing::async_trait]
        impl<$($generics)*> $crate::store::$trait for $($store)+ {$(
            async fn $method(&self, $($arg: $type),*) -> Result<$output, $crate::store::StoreError> {
                let inner = $crate::testing::Decorator::inner(self);
                let call = $crate::store::$trait::$method(inner, $($arg),*);
                let operation = $crate::testing::Operation::$operation;
                $crate::testing::Decorator::around(self, operation, call).await
            }
        )+}
    };
}
