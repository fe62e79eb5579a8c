//! Settings that change while they are read.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use enroll_core::decorate_store;
use enroll_core::issue::Issuer;
use enroll_core::master::{AutoEnrollmentChange, Enroller, Verdict};
use enroll_core::model::{EnrollRequest, Origin, Presented, Reason, SharedSecret};
use enroll_core::store::{MemoryStore, Store, StoreError};
use enroll_core::testing::{Decorator, Operation, name};
use tokio::time::sleep;

/// A store whose settings are long on their way back to the master that reads them.
struct Distant(MemoryStore);

impl Decorator for Distant {
    type Inner = MemoryStore;

    fn inner(&self) -> &MemoryStore {
        &self.0
    }

    async fn around<T: Send>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let answer = call.await;
        if operation == Operation::Setting {
            sleep(ON_THE_WAY).await;
        }
        answer
    }
}
decorate_store! {
    Distant: Redemptions Tokens Nodes Identities Commands Admins Settings Journal Masters Probe
}

const ON_THE_WAY: Duration = Duration::from_secs(1);
const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test(start_paused = true)]
async fn what_was_switched_off_stays_off_where_the_settings_were_being_read() {
    let store: Arc<dyn Store> = Arc::new(Distant(MemoryStore::new()));
    let issuers: Vec<Arc<dyn Issuer>> = Vec::new();
    let master = Enroller::with_issuers(store, issuers);
    let secret = Some(SharedSecret::configured(SECRET.into()).unwrap());
    let on = AutoEnrollmentChange { enabled: Some(true), secret, ..Default::default() };
    master.change_auto_enrollment(on, "admin").await.unwrap();

    // The one that reads began while it was on, and its answer comes after the change.
    let off = AutoEnrollmentChange { enabled: Some(false), ..Default::default() };
    let change = master.change_auto_enrollment(off, "admin");
    let read = async {
        sleep(ON_THE_WAY / 2).await;
        master.reload_settings().await
    };
    let (changed, read) = tokio::join!(change, read);
    assert!(!changed.unwrap().enabled);
    read.unwrap();
    let presented = Presented::from_parts(None, Some(SECRET.into())).unwrap();
    let request = EnrollRequest::new(presented).with_node_name(name("worker-1"));
    let verdict = master.enroll(request, Origin::default()).await.unwrap();
    let Verdict::Refused(why) = verdict else { panic!("{verdict:?}") };
    assert_eq!(why.reason(), Reason::EnrollmentDisabled);
}
