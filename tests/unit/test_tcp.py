"""What the kernel shows of connections."""

import os
import socket

from tenantry.host import processes, tcp


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


def test_connections_have_both_ends_and_whose_they_are() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.9", 0)) as ours,
            server.accept()[0] as theirs,
        ):
            mine = ours.getsockname()[1]
            found = {each.port: each for each in tcp.connections() if {mine, port} & {each.port}}
            assert found[mine].peer == ("127.0.0.1", port)
            assert found[port].peer == ("127.0.0.9", mine)
            assert found[mine].inode == os.fstat(ours.fileno()).st_ino
            assert processes.sockets(os.getpid()) >= {each.inode for each in found.values()}
            # One that has no more to say can still be answered.
            ours.shutdown(socket.SHUT_WR)
            assert mine in {each.peer[1] for each in tcp.connections() if each.port == port}
            theirs.shutdown(socket.SHUT_WR)
    assert port not in {each.port for each in tcp.connections()}
    assert processes.sockets(2**22 + 1) == set()
