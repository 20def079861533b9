"""What the kernel shows of connections."""

import socket

from tenantry.host import tcp


def test_the_bytes_that_came_are_reported_by_the_other_side() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        with (
            socket.create_connection(("127.0.0.1", port)) as four,
            socket.create_connection(("::1", port)) as six,
        ):
            four.sendall(b"x" * 5000)
            six.sendall(b"x" * 70)
            found = tcp.bytes_received(port)
            assert found["127.0.0.1", four.getsockname()[1]] == 5000
            assert found["::1", six.getsockname()[1]] == 70
            assert len(found) == 2
