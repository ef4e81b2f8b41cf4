//! The connection as a [`Wire`].

use bytestring::ByteString;
use fastmcp_protocol::wire::Written;
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use super::Memory;
use crate::{
    door::{Door, Reply},
    exchange::{Exchange, Step},
    wire::{Incoming, Messages, Outgoing, Wire, WireError, WireKind},
};

impl<D: Door> Wire for Memory<D> {
    fn kind(&self) -> WireKind {
        WireKind::Memory
    }

    fn request(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Incoming, WireError>> {
        // Begun here, so that the future does not carry the message as well.
        let begun = self.open().map(|()| self.carry(outgoing));
        Box::pin(async move {
            let mut exchange = begun?;
            let first = self.next(&mut exchange).await?;
            incoming(Some(first), exchange, &self.closed)
        })
    }

    fn notify(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<(), WireError>> {
        Box::pin(async move {
            self.open()?;
            let mut exchange = self.carry(outgoing);
            loop {
                return match self.next(&mut exchange).await? {
                    Step::Frame(_) => continue,
                    Step::Done(Reply::Accepted) => Ok(()),
                    Step::Done(Reply::Message { status, body, .. }) if status >= 300 => {
                        Err(refused(status, &body))
                    }
                    Step::Done(Reply::Status(status)) if status >= 300 => Err(refused(status, "")),
                    Step::Done(_) => Ok(()),
                };
            }
        })
    }

    fn listen(&self, _: HeaderMap) -> BoxFuture<'_, Result<Incoming, WireError>> {
        Box::pin(async move {
            self.open()?;
            let mut exchange = Self::listen(self);
            // What is refused is refused at once; anything else may be silent for hours.
            let first = exchange.next().now_or_never();
            incoming(first, exchange, &self.closed)
        })
    }

    fn close(&self, _: HeaderMap) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.closed.is_cancelled() {
                return;
            }
            self.closed.cancel();
            Self::close(self).await;
        })
    }
}

impl<D: Door> Memory<D> {
    fn open(&self) -> Result<(), WireError> {
        if self.closed.is_cancelled() {
            return Err(closed());
        }
        Ok(())
    }

    /// The next step, unless the wire is closed before it comes.
    async fn next(&self, exchange: &mut Exchange) -> Result<Step, WireError> {
        tokio::select! {
            biased;
            step = exchange.next() => Ok(step),
            () = self.closed.cancelled() => Err(closed()),
        }
    }
}

/// The answer that begins with `first`.
fn incoming(
    first: Option<Step>,
    exchange: Exchange,
    closed: &CancellationToken,
) -> Result<Incoming, WireError> {
    let (status, messages) = match first {
        Some(Step::Done(Reply::Status(status))) if status >= 300 => {
            return Err(refused(status, ""));
        }
        // Nearly every answer is all that is said.
        Some(Step::Done(Reply::Message {
            status,
            body: text,
            found,
            ..
        })) => (status, Messages::Only(Some(Written { text, found }))),
        Some(Step::Done(Reply::Denied { body, .. })) => (403, Messages::Only(Some(body.into()))),
        Some(Step::Done(Reply::Status(status))) => (status, Messages::Only(None)),
        Some(Step::Done(Reply::Accepted)) => (202, Messages::Only(None)),
        first @ (Some(Step::Frame(_)) | None) => {
            let messages = messages(first, exchange, closed.clone());
            (200, messages.into())
        }
    };
    Ok(Incoming {
        status,
        headers: HeaderMap::new(),
        messages,
    })
}

/// What an exchange has to say, as messages; priming events say nothing.
fn messages(
    first: Option<Step>,
    exchange: Exchange,
    closed: CancellationToken,
) -> BoxStream<'static, Result<ByteString, WireError>> {
    stream::unfold(Some((first, exchange)), move |state| {
        let closed = closed.clone();
        async move {
            let (mut first, mut exchange) = state?;
            loop {
                let step = match first.take() {
                    Some(step) => step,
                    None => tokio::select! {
                        biased;
                        step = exchange.next() => step,
                        () = closed.cancelled() => return Some((Err(self::closed()), None)),
                    },
                };
                match step {
                    Step::Frame(frame) if frame.data.is_empty() => {}
                    Step::Frame(frame) => return Some((Ok(frame.data), Some((None, exchange)))),
                    Step::Done(Reply::Message { body, .. } | Reply::Denied { body, .. }) => {
                        return Some((Ok(body), None));
                    }
                    Step::Done(Reply::Accepted | Reply::Status(_)) => return None,
                }
            }
        }
    })
    .boxed()
}

fn refused(status: u16, body: &str) -> WireError {
    WireError::Status {
        status,
        headers: Box::default(),
        body: crate::wire::beginning(body),
    }
}

fn closed() -> WireError {
    WireError::Closed("it was closed on this side".to_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use fastmcp_protocol::{Message, RequestId};
    use tokio::sync::Notify;

    use super::*;
    use crate::{
        door::{Call, Denied, Inbound, What},
        outlet::Frame,
        peer::Peer,
    };

    /// Answers `echo` after a notification, `hang` never, everything else with 404.
    #[derive(Debug, Default)]
    struct Small {
        cancelled: Notify,
        terminated: AtomicUsize,
    }

    impl Door for Small {
        type Caller = ();

        fn admit(&self, _: &Peer) -> impl Future<Output = Result<(), Denied>> + Send {
            std::future::ready(Ok(()))
        }

        fn call(self: &Arc<Self>, (): (), inbound: Inbound) -> Call {
            let door = Arc::clone(self);
            Box::pin(async move {
                match inbound.what {
                    What::Message(Message::Notification(_), _) => Reply::Accepted,
                    What::Message(Message::Request(r), _) if r.method == "echo" => {
                        let frames = ["", "first"].map(Frame::message);
                        let [priming, first] = frames.map(|frame| inbound.outlet.send(frame));
                        priming.await.unwrap();
                        first.await.unwrap();
                        Reply::ok("last")
                    }
                    What::Message(Message::Request(r), _) if r.method == "hang" => {
                        inbound.cancel.cancelled().await;
                        door.cancelled.notify_one();
                        Reply::Accepted
                    }
                    What::Message(..) => Reply::with_status(404, "no such method"),
                    What::Listen { .. } => {
                        inbound.outlet.send(Frame::message("news")).await.unwrap();
                        inbound.cancel.cancelled().await;
                        Reply::Accepted
                    }
                    What::Terminate => {
                        door.terminated.fetch_add(1, Ordering::SeqCst);
                        Reply::Status(200)
                    }
                }
            })
        }
    }

    fn request(method: &str) -> Outgoing {
        Outgoing {
            id: Some(RequestId::Number(1)),
            method: method.into(),
            body: format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#).into(),
            headers: HeaderMap::new(),
            resumable: false,
        }
    }

    fn wire() -> (Arc<Small>, Arc<dyn Wire>) {
        let door = Arc::new(Small::default());
        (Arc::clone(&door), Arc::new(Memory::connect(door, ())))
    }

    async fn texts(incoming: Incoming) -> Vec<ByteString> {
        incoming.messages.map(Result::unwrap).collect().await
    }

    #[tokio::test]
    async fn an_answer_is_the_messages_in_their_order() {
        let (_, wire) = wire();
        let answer = wire.request(request("echo")).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(texts(answer).await, ["first", "last"]);
        let answer = wire.request(request("other")).await.unwrap();
        assert_eq!(answer.status, 404);
        assert_eq!(texts(answer).await, ["no such method"]);
    }

    #[tokio::test]
    async fn dropping_an_answer_cancels_its_call() {
        let (door, wire) = wire();
        assert!(wire.request(request("hang")).now_or_never().is_none());
        door.cancelled.notified().await;
    }

    #[tokio::test]
    async fn listening_hears_what_comes_unasked() {
        let (_, wire) = wire();
        let mut heard = wire.listen(HeaderMap::new()).await.unwrap().messages;
        assert_eq!(heard.next().await.unwrap().unwrap(), "news");
        wire.close(HeaderMap::new()).await;
        assert!(matches!(
            heard.next().await,
            Some(Err(WireError::Closed(_)))
        ));
        assert!(heard.next().await.is_none());
    }

    #[tokio::test]
    async fn a_closed_wire_carries_nothing() {
        let (door, wire) = wire();
        let mut notification = request("notifications/progress");
        notification.body = r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#.into();
        wire.notify(notification.clone()).await.unwrap();
        wire.close(HeaderMap::new()).await;
        wire.close(HeaderMap::new()).await;
        assert_eq!(door.terminated.load(Ordering::SeqCst), 1);
        let refused = wire.notify(notification).await.unwrap_err();
        assert!(matches!(refused, WireError::Closed(_)), "{refused}");
        let refused = wire.request(request("echo")).await.unwrap_err();
        assert!(matches!(refused, WireError::Closed(_)), "{refused}");
    }
}
