//! `BatchAppend`.

use eventstore_client::proto::streams::batch_append_req::options::ExpectedStreamPosition as Wish;
use eventstore_client::proto::streams::batch_append_req::{Options, ProposedMessage};
use eventstore_client::proto::streams::batch_append_resp::success::{CurrentRevisionOption, PositionOption};
use eventstore_client::proto::streams::batch_append_resp::{ExpectedStreamPosition as Echoed, Result as Answer};
use eventstore_client::proto::streams::{BatchAppendReq, BatchAppendResp};
use eventstore_client::proto::wrong_expected_version::{CurrentStreamRevisionOption, ExpectedStreamPositionOption};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::*;

fn chunk(append: u128, to: Option<(&str, Wish)>, events: &[u128], is_final: bool) -> BatchAppendReq {
    let message = |number: &u128| {
        let event = proposed(*number);
        ProposedMessage {
            id: event.id,
            metadata: event.metadata,
            custom_metadata: event.custom_metadata,
            data: event.data,
        }
    };
    BatchAppendReq {
        correlation_id: id(append),
        options: to.map(|(stream, wish)| Options {
            stream_identifier: identifier(stream),
            deadline_option: None,
            expected_stream_position: Some(wish),
        }),
        proposed_messages: events.iter().map(message).collect(),
        is_final,
    }
}

/// An open call.
struct Call {
    chunks: mpsc::Sender<BatchAppendReq>,
    answers: tonic::Streaming<BatchAppendResp>,
}

impl Call {
    async fn open(served: &Served) -> Self {
        let (chunks, receiver) = mpsc::channel(64);
        let answers = served.client().await.batch_append(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { chunks, answers }
    }

    async fn send(&self, chunk: BatchAppendReq) {
        self.chunks.send(chunk).await.unwrap();
    }

    async fn answer(&mut self) -> BatchAppendResp {
        within(self.answers.message()).await.unwrap().expect("there is an answer to each append")
    }
}

fn done(answer: &BatchAppendResp) -> (u64, u64) {
    let Some(Answer::Success(success)) = &answer.result else { panic!("{answer:?}") };
    let Some(CurrentRevisionOption::CurrentRevision(revision)) = success.current_revision_option else {
        panic!("{success:?}")
    };
    let Some(PositionOption::Position(position)) = success.position_option else { panic!("{success:?}") };
    (revision, position.commit_position)
}

#[tokio::test]
async fn appends_whose_chunks_mingle_are_each_whole_and_answered_by_their_own_id() {
    let served = Served::start().await;
    let mut call = Call::open(&served).await;
    call.send(chunk(1, Some(("order-1", Wish::NoStream(()))), &[10, 11], false)).await;
    call.send(chunk(2, Some(("order-2", Wish::Any(()))), &[20], true)).await;
    call.send(chunk(1, None, &[12], true)).await;
    let (mut first, mut second) = (call.answer().await, call.answer().await);
    if first.correlation_id == id(1) {
        std::mem::swap(&mut first, &mut second);
    }
    assert_eq!((first.correlation_id.clone(), done(&first)), (id(2), (0, 1)));
    assert_eq!((second.correlation_id.clone(), done(&second)), (id(1), (2, 4)));
    assert_eq!((&first.stream_identifier, &second.stream_identifier), (&identifier("order-2"), &identifier("order-1")));
    assert_eq!(second.expected_stream_position, Some(Echoed::NoStream(())));
    drop(call.chunks);
    assert!(within(call.answers.message()).await.unwrap().is_none(), "the call ends well when the client ends it");
    assert_eq!(served.log().await.len(), 4);
    served.stop().await;
}

#[tokio::test]
async fn a_conflict_among_many_appends_harms_no_other_and_says_where_the_stream_is() {
    let served = Served::start().await;
    served.append("order-1", 0, 3).await;
    let mut call = Call::open(&served).await;
    call.send(chunk(1, Some(("order-1", Wish::StreamPosition(7))), &[1], true)).await;
    call.send(chunk(2, Some(("order-2", Wish::StreamExists(()))), &[2], true)).await;
    call.send(chunk(3, Some(("order-1", Wish::StreamPosition(2))), &[3], true)).await;
    for _ in 0..3 {
        let answer = call.answer().await;
        let of = if answer.correlation_id == id(3) { 3 } else { 1 };
        if of == 3 {
            assert_eq!(done(&answer), (3, 4));
            continue;
        }
        let Some(Answer::Error(error)) = &answer.result else { panic!("{answer:?}") };
        assert_eq!(error.code, i32::from(Code::AlreadyExists));
        let details = error.details.as_ref().unwrap();
        assert!(details.type_url.ends_with("/event_store.client.WrongExpectedVersion"), "{}", details.type_url);
        let conflict = proto::WrongExpectedVersion::decode(&*details.value).unwrap();
        let (current, expected) = if answer.correlation_id == id(1) {
            let current = CurrentStreamRevisionOption::CurrentStreamRevision(2);
            (current, ExpectedStreamPositionOption::ExpectedStreamPosition(7))
        } else {
            let current = CurrentStreamRevisionOption::CurrentNoStream(());
            (current, ExpectedStreamPositionOption::ExpectedStreamExists(()))
        };
        assert_eq!(conflict.current_stream_revision_option, Some(current));
        assert_eq!(conflict.expected_stream_position_option, Some(expected));
    }
    served.stop().await;
}

#[tokio::test]
async fn a_bad_append_among_many_is_told_why_and_the_call_goes_on() {
    let served = Served::start().await;
    let mut call = Call::open(&served).await;
    let mut bad = chunk(1, Some(("order-1", Wish::Any(()))), &[1], true);
    bad.proposed_messages[0].data = b"not json".to_vec().into();
    call.send(bad).await;
    let answer = call.answer().await;
    let Some(Answer::Error(error)) = &answer.result else { panic!("{answer:?}") };
    assert_eq!(error.code, i32::from(Code::InvalidArgument));
    assert!(error.details.as_ref().unwrap().type_url.ends_with("/event_store.client.BadRequest"));
    call.send(chunk(2, None, &[2], true)).await;
    let answer = call.answer().await;
    let Some(Answer::Error(error)) = &answer.result else { panic!("{answer:?}") };
    assert!(error.message.contains("no options"), "{}", error.message);
    call.send(chunk(3, Some(("$$order-1", Wish::Any(()))), &[3], true)).await;
    let answer = call.answer().await;
    let Some(Answer::Error(error)) = &answer.result else { panic!("{answer:?}") };
    assert!(error.details.as_ref().unwrap().type_url.ends_with("/event_store.client.AccessDenied"));
    call.send(chunk(4, Some(("order-1", Wish::NoStream(()))), &[4], true)).await;
    assert_eq!(done(&call.answer().await), (0, 1));
    served.stop().await;
}

#[tokio::test]
async fn many_appends_in_flight_over_one_call_are_queued_in_the_order_in_which_they_came() {
    let served = Served::start().await;
    let mut call = Call::open(&served).await;
    let chunks = call.chunks.clone();
    let mut sending = JoinSet::new();
    sending.spawn(async move {
        for number in 0..3_000_u128 {
            // Each builds on the one before it, which may not be durable yet.
            let wish = match u64::try_from(number).unwrap().checked_sub(1) {
                None => Wish::NoStream(()),
                Some(before) => Wish::StreamPosition(before),
            };
            chunks.send(chunk(number, Some(("order-1", wish)), &[number], true)).await.unwrap();
        }
    });
    for _ in 0..3_000 {
        let answer = call.answer().await;
        let (revision, position) = done(&answer);
        assert_eq!(answer.correlation_id, id(u128::from(revision)));
        assert_eq!(position, revision + 1);
    }
    within(sending.join_all()).await;
    assert_eq!(served.log().await.len(), 3_000);
    served.stop().await;
}

#[tokio::test]
async fn the_same_append_again_over_another_call_gets_the_first_answer() {
    let served = Served::start().await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let mut call = Call::open(&served).await;
        call.send(chunk(1, Some(("order-1", Wish::Any(()))), &[1, 2], true)).await;
        answers.push(done(&call.answer().await));
    }
    assert_eq!(answers, [(1, 2), (1, 2)]);
    assert_eq!(served.log().await.len(), 2);
    served.stop().await;
}

#[tokio::test]
async fn a_call_that_is_open_when_the_server_stops_ends_as_unavailable() {
    let mut served = Served::start().await;
    let mut call = Call::open(&served).await;
    call.send(chunk(1, Some(("order-1", Wish::Any(()))), &[1], true)).await;
    call.answer().await;
    served.stop.take().unwrap().send(()).unwrap();
    assert_eq!(within(call.answers.message()).await.unwrap_err().code(), Code::Unavailable);
    within(served.serving.join_next()).await.unwrap().unwrap();
}
