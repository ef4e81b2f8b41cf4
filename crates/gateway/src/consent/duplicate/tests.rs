use std::{
    fmt,
    sync::{Arc, Mutex},
};

use fastmcp::seal::KeyRing;
use fastmcp_auth::{Caller, caller::LocalIdentity};
use fastmcp_guard::{
    clock::SystemClock,
    random::{OsRandom, Random, RandomError},
};
use fastmcp_policy::Sources;
use fastmcp_protocol::Raw;
use serde_json::json;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    call::{CanConfirm, CorrId, Pending, Presented, TokenMeta},
    catalog::Catalog,
    confirm::Config,
    consent::{Held, Hold, answer::keep},
    error::Code,
    policy::{Permit, Policy},
    provider::{Adapters, ads::AdsProvider},
    state::{Location, Options, State},
};

type Hook = Box<dyn FnOnce() + Send>;

/// Lets something happen at the moment at which bytes are asked for: between what a call read and what it writes.
#[derive(Default)]
struct Hooked(Mutex<Option<Hook>>);

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooked").finish()
    }
}

impl Random for Hooked {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        let hook = self.0.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        OsRandom.fill(bytes)
    }
}

/// A call that waits for its confirmation, and what it takes to make it again.
struct Room {
    consents: Consents,
    random: Arc<Hooked>,
    permit: Permit,
    call: Call,
    _folder: tempfile::TempDir,
}

impl Room {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let random = Arc::new(Hooked::default());
        let keys = Arc::new(KeyRing::ephemeral().unwrap());
        let mut options = Options::new(Location::Memory, keys, "replica-1").unwrap();
        options.random = random.clone();
        let state = State::open(options).await.unwrap();
        let ads = AdsProvider::open(&folder.path().join("ads.db"), Arc::new(OsRandom)).unwrap();
        let mut adapters = Adapters::default();
        adapters.register_adapter(Arc::new(ads));
        let catalog = Catalog::open(state.clone(), adapters, Arc::new(SystemClock));
        let policy = Policy::load(&Sources::built_in(), Arc::new(SystemClock)).unwrap();
        let call = call();
        let target = catalog.await.unwrap().resolve(&call.caller, &call.tool_id);
        let target = target.unwrap();
        let args = target.validate(&call).unwrap();
        let demands = target.demands(&args).unwrap();
        let standing = policy.standing();
        let permitted = policy.permit(&call, target, (args, demands), &standing);
        let Ok(permit) = permitted else {
            panic!("the call is not permitted");
        };
        Self {
            consents: Consents::new(state.ledger().clone(), Config::default()).unwrap(),
            random,
            permit,
            call,
            _folder: folder,
        }
    }

    async fn ask(&self) -> Result<Pending, Error> {
        let held = self
            .consents
            .hold(&self.permit, &self.call, OnDuplicate::Tell);
        match held.await? {
            Held::Pending(pending) => Ok(pending),
            other => panic!("{other:?}"),
        }
    }

    /// Has `waiting` confirmed as soon as another call of the same has looked what there is, and done if it `acts`.
    fn confirm_meanwhile(&self, waiting: &Pending, acts: bool) {
        let (consents, permit) = (self.consents.clone(), self.permit.clone());
        let call = Call {
            presented: Presented::Token(waiting.action_token.clone()),
            ..self.call.clone()
        };
        let confirmed = async move {
            let held = consents.hold(&permit, &call, OnDuplicate::Tell).await;
            let Ok(Held::Go(Hold::Ticket(ticket))) = held else {
                panic!("{held:?}");
            };
            if acts {
                let acting = ticket.intend(Duration::from_secs(60)).await.unwrap();
                let result = Raw::of(&json!({"campaignId": "c-7"})).unwrap();
                let kept = keep(&result, &TokenMeta::default()).unwrap();
                acting.complete(&kept).await.unwrap();
            }
        };
        let runtime = Handle::current();
        let hook = move || tokio::task::block_in_place(|| runtime.block_on(confirmed));
        *self.random.0.lock().unwrap() = Some(Box::new(hook));
    }
}

fn call() -> Call {
    let caller = Caller::local_as(LocalIdentity {
        subject: "alice".to_owned(),
        tenant: Some("acme".to_owned()),
        roles: vec!["finance-write".to_owned()],
        scopes: None,
    });
    let campaign = json!({"name": "Spring", "budget": 250, "startDate": "2026-03-01"});
    Call {
        caller,
        corr_id: CorrId::parse("c-1").unwrap(),
        tool_id: "ads:createCampaign".to_owned(),
        args: Some(Raw::of(&campaign).unwrap()),
        client: None,
        session: None,
        idempotency_key: None,
        presented: Presented::Nothing,
        can_confirm: CanConfirm::Yes,
        can_attach: false,
        cancel: CancellationToken::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_while_a_call_asked_is_told() {
    let room = Room::open().await;
    let first = room.ask().await.unwrap();
    room.confirm_meanwhile(&first, true);
    let second = room.ask().await.unwrap();
    assert_ne!(second.operation_id, first.operation_id);
    let told = second.done_before.expect("it was done before");
    assert_eq!(told.operation_id, first.operation_id);
    // And so is whoever asks once more and finds what waits by now.
    let third = room.ask().await.unwrap();
    assert_eq!(third.operation_id, second.operation_id);
    assert_eq!(
        third.done_before.map(|told| told.operation_id),
        Some(first.operation_id)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_what_began_while_a_call_asked_nothing_waits() {
    let room = Room::open().await;
    let first = room.ask().await.unwrap();
    room.confirm_meanwhile(&first, false);
    let refused = room.ask().await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
    assert_eq!(refused.details()["reason"], "in_progress");
    assert_eq!(
        refused.details()["operation_id"],
        first.operation_id.as_str()
    );
    let binding = room.consents.binding_of(&first.operation_id).await;
    let binding = binding.unwrap().unwrap();
    let waiting = room.consents.ledger().waiting(&binding).await.unwrap();
    assert!(waiting.is_none(), "{waiting:?}");
}
