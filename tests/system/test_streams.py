"""Reading all outputs of a run that is deleted meanwhile, over HTTP."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import requests

from tests.system.installation import Installation


def test_a_stream_of_a_run_that_is_deleted_breaks_off(shared: Installation) -> None:
    # More than the buffers between the web server and a reader who pauses take.
    run_uid = shared.launch("count-to", [{"number": 10_000}] * 60)
    assert shared.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    paths = [f"/v1/runs/{run_uid}/outputs?format={form}" for form in ("ndjson", "csv")]
    with ExitStack() as open_answers:
        answers = [open_answers.enter_context(shared.client.get(path, stream=True)) for path in paths]
        assert [answer.status_code for answer in answers] == [200, 200]
        streams = [answer.iter_content(64 * 1024) for answer in answers]
        assert all(next(pieces) for pieces in streams)
        assert shared.client.request("DELETE", f"/v1/runs/{run_uid}").status_code == 204
        for pieces in streams:
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                list(pieces)
    assert [shared.client.get(path).status_code for path in paths] == [404, 404]
    assert shared.client.get("/v1/runs").status_code == 200
