"""Reading all outputs of a run that is deleted meanwhile, over HTTP."""

from __future__ import annotations

import pytest
import requests

from tests.system.installation import Installation


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_a_stream_of_a_run_that_is_deleted_breaks_off(shared: Installation, form: str) -> None:
    # More than the buffers between the web server and a reader who pauses take.
    run_uid = shared.launch("count-to", [{"number": 10_000}] * 60)
    assert shared.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    path = f"/v1/runs/{run_uid}/outputs?format={form}"
    with shared.client.get(path, stream=True) as answer:
        assert answer.status_code == 200
        pieces = answer.iter_content(64 * 1024)
        assert next(pieces)
        assert shared.client.request("DELETE", f"/v1/runs/{run_uid}").status_code == 204
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(pieces)
    assert shared.client.get(path).status_code == 404
    assert shared.client.get("/v1/runs").status_code == 200
