"""A viewer appears in its page while the kernel runs the next cell, as after "Run All Cells"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_client.manager import start_new_kernel

if TYPE_CHECKING:
    from pathlib import Path


def test_a_busy_kernel_answers_a_page_that_asks_in_a_subshell(tmp_path: Path) -> None:
    (tmp_path / "old.log").write_text("a line\n")
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        comm_ids: list[str] = []

        def on_output(message: dict[str, Any]) -> None:
            if message["msg_type"] == "comm_open" and "_viewer" in message["content"]["data"]["state"]:
                comm_ids.append(message["content"]["comm_id"])

        code = f"import cortex_jupyter\nviewer = cortex_jupyter.open({str(tmp_path / 'old.log')!r}).viewer"
        assert client.execute_interactive(code, timeout=60, output_hook=on_output)["content"]["status"] == "ok"
        (comm,) = comm_ids
        client.control_channel.send(client.session.msg("create_subshell_request"))
        subshell = client.get_control_msg(timeout=30)["content"]["subshell_id"]
        gate = tmp_path / "gate"
        client.execute(f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.05)")
        request = client.session.msg(
            "comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": {"type": "viewer"}}}
        )
        request["header"]["subshell_id"] = subshell
        client.shell_channel.send(request)
        while (answer := client.get_iopub_msg(timeout=30))["msg_type"] != "comm_msg":
            pass
        assert answer["content"]["data"]["content"]["type"] == "viewer" and len(answer["buffers"]) == 5
        gate.touch()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
