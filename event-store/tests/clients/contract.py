"""The official Python client against a served log: `contract.py kurrentdb://127.0.0.1:PORT?tls=false`.

Exits with 0 if all went as with a KurrentDB; `event-store/tests/serve/official_python.rs` looks into the log afterwards.
"""

import json
import sys
import threading
from uuid import UUID

from kurrentdbclient import KurrentDBClient, NewEvent, StreamState
from kurrentdbclient.exceptions import (
    AccessDeniedError,
    BadRequestError,
    KurrentDBClientError,
    NotFoundError,
    WrongCurrentVersionError,
)


def event(number, **more):
    data = json.dumps({"number": number}).encode()
    return NewEvent(type="Happened", data=data, id=UUID(int=number), **more)


def refused(error, act):
    try:
        act()
    except error as why:
        return why
    raise AssertionError(f"{error.__name__} was not raised")


def appending(client):
    assert client.append_to_stream("order-1", events=event(1), current_version=StreamState.NO_STREAM) == 1
    assert client.append_to_stream("order-1", events=[event(2), event(3)], current_version=0) == 3
    assert client.append_to_stream("order-2", events=[event(4)], current_version=StreamState.ANY) == 4
    assert client.append_to_stream("order-2", events=event(5), current_version=StreamState.EXISTS) == 5
    # The same again, over both calls: the first answer.
    assert client.append_to_stream("order-1", events=event(1), current_version=StreamState.NO_STREAM) == 1
    assert client.append_to_stream("order-1", events=[event(2), event(3)], current_version=0) == 3
    for wrong in (event(90), [event(90)]):
        conflict = refused(
            WrongCurrentVersionError,
            lambda: client.append_to_stream("order-1", events=wrong, current_version=7),
        )
        assert conflict.actual_version == 2, conflict.actual_version
        refused(
            WrongCurrentVersionError,
            lambda: client.append_to_stream("order-9", events=wrong, current_version=7),
        )
    binary = NewEvent(type="Happened", data=b"\x00", content_type="application/octet-stream")
    why = refused(KurrentDBClientError, lambda: client.append_to_stream("order-3", events=binary, current_version=StreamState.ANY))
    assert "application/octet-stream" in str(why), why
    refused(BadRequestError, lambda: client.append_to_stream("order-3", events=[binary], current_version=StreamState.ANY))
    refused(AccessDeniedError, lambda: client.delete_stream("order-1", current_version=StreamState.ANY))
    refused(AccessDeniedError, lambda: client.tombstone_stream("order-1", current_version=StreamState.ANY))
    refused(AccessDeniedError, lambda: client.set_stream_metadata("order-1", metadata={"$maxCount": 1}))


def reading(client):
    assert [e.id.int for e in client.read_stream("order-1")] == [1, 2, 3]
    assert [e.stream_position for e in client.read_stream("order-1", backwards=True)] == [2, 1, 0]
    assert [e.stream_position for e in client.read_stream("order-1", stream_position=1, limit=1)] == [1]
    assert [e.stream_position for e in client.get_stream("order-1", stream_position=1, backwards=True)] == [1, 0]
    refused(NotFoundError, lambda: list(client.read_stream("order-9")))
    assert client.get_current_version("order-1") == 2
    assert client.get_current_version("order-9") is StreamState.NO_STREAM
    assert client.get_commit_position() == 5
    assert client.get_stream_metadata("order-1") == ({}, StreamState.NO_STREAM)
    assert [e.commit_position for e in client.read_all()] == [1, 2, 3, 4, 5]
    assert [e.commit_position for e in client.read_all(backwards=True)] == [5, 4, 3, 2, 1]
    assert [e.commit_position for e in client.read_all(commit_position=3)] == [3, 4, 5]
    assert [e.commit_position for e in client.read_all(commit_position=3, backwards=True)] == [2, 1]
    two = client.read_all(filter_include=["order-2"], filter_by_stream_name=True)
    assert [e.commit_position for e in two] == [4, 5]
    first = next(iter(client.read_stream("order-1")))
    assert (first.type, first.content_type, first.stream_name) == ("Happened", "application/json", "order-1")
    assert json.loads(first.data) == {"number": 1}
    metadata = json.loads(first.metadata)
    assert metadata["$correlationId"] == metadata["correlation_id"] == str(UUID(int=1))
    assert metadata["actor"] == "kurrentdb-client"
    assert first.recorded_at.year >= 2024


def until(subscription, wanted):
    """All that comes up to what is wanted, inclusive."""
    found = []
    for it in subscription:
        found.append(it)
        if wanted(it):
            return found
    raise AssertionError("a subscription does not end")


def following(client):
    of_stream = client.subscribe_to_stream("order-1", stream_position=0, include_caught_up=True)
    caught_up = until(of_stream, lambda it: it.is_caught_up)
    assert [it.id.int for it in caught_up[:-1]] == [2, 3], "from is exclusive"
    assert caught_up[-1].stream_position == 2
    of_all = client.subscribe_to_all(
        filter_include=[r"order-2.*"], filter_by_stream_name=True, include_checkpoints=True, include_caught_up=True,
        window_size=2, checkpoint_interval_multiplier=1,
    )
    caught_up = until(of_all, lambda it: it.is_caught_up)
    events = [it.id.int for it in caught_up if not it.is_checkpoint and not it.is_caught_up]
    checkpoints = [it.commit_position for it in caught_up if it.is_checkpoint]
    assert (events, checkpoints) == ([4, 5], [2, 4, 5]), (events, checkpoints)
    assert caught_up[-1].commit_position == 5
    client.append_to_stream("order-1", events=event(6), current_version=2)
    client.append_to_stream("order-2", events=event(7), current_version=1)
    assert until(of_stream, lambda it: True)[0].id.int == 6
    assert until(of_all, lambda it: not it.is_checkpoint)[-1].id.int == 7
    of_stream.stop()
    of_all.stop()


def many_at_once(client):
    """Writers of one stream, who meet by its version."""
    failed = []

    def writer(first):
        for number in range(first, first + 25):
            while True:
                at = client.get_current_version("order-many")
                try:
                    client.append_to_stream("order-many", events=event(number), current_version=at)
                    break
                except WrongCurrentVersionError:
                    continue
                except Exception as why:  # Told in the main thread.
                    failed.append(why)
                    return

    writers = [threading.Thread(target=writer, args=(1000 * (n + 1),)) for n in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    assert not failed, failed
    assert len(list(client.read_stream("order-many"))) == 100


def main():
    client = KurrentDBClient(uri=sys.argv[1])
    for part in (appending, reading, following, many_at_once):
        part(client)
        print(part.__name__, "ok", flush=True)
    client.close()


main()
