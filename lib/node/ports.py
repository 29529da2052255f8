"""Listens on the ports of a node and tries those of the others. Sent to `python3 -` on stdin, never installed.

listen JSON   {tcp: [port], udp: [port], peers: [name], seconds, channel, patience}: listens in the background on every
              port that is free, and prints which. Ends when every peer has said goodbye, when it is told to, or after
              `seconds`. A listener of another run has `patience` seconds to end first.
probe JSON    {name, targets: [{address, port, protocol, size, seconds}], channel, farewell}: tries all targets at
              once, prints a JSON line for each in their order, says goodbye, and waits until this node's own listener
              has ended; after `farewell` seconds it tells it to.
"""
import errno
import json
import os
import selectors
import socket
import struct
import sys
import time

GREETING = b'keybuzz\n'
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3  # linux/in.h: set "don't fragment", and ignore the known path MTU


def channel_of(arguments):
    """The local socket on which this node's listener is told to end: abstract, so it leaves no file behind."""
    return '\0' + arguments['channel']


def end_listener(channel, patience):
    """Waits `patience` seconds for this node's listener to end by itself, then tells it to."""
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(channel)
            line.settimeout(patience)
            try:
                line.recv(1)
            except TimeoutError:
                line.sendall(b'now')
                line.settimeout(2)
                line.recv(1)
        except OSError:
            pass  # none is there, or it has ended


def k3s_is_installed():
    wants = '/etc/systemd/system/multi-user.target.wants'
    return any(os.path.lexists(f'{wants}/{unit}.service') for unit in ('k3s', 'k3s-agent'))


def listen(arguments):
    end_listener(channel_of(arguments), arguments['patience'])
    selector = selectors.DefaultSelector()
    held, busy, failed = [], [], {}
    if k3s_is_installed():  # its own listeners are the answer; ours would be in the way of one that is just starting
        arguments = {**arguments, 'tcp': [], 'udp': []}
    for protocol, kind in (('tcp', socket.SOCK_STREAM), ('udp', socket.SOCK_DGRAM)):
        for port in arguments[protocol]:
            name = f'{port}/{protocol}'
            opened = socket.socket(socket.AF_INET, kind)
            try:
                if protocol == 'tcp':
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.bind(('0.0.0.0', port))
                if protocol == 'tcp':
                    opened.listen(256)
                selector.register(opened, selectors.EVENT_READ, protocol)
                held.append(name)
            except OSError as error:
                opened.close()
                if error.errno == errno.EADDRINUSE:
                    busy.append(name)
                else:
                    failed[name] = error.strerror
    local = socket.socket(socket.AF_UNIX)
    local.bind(channel_of(arguments))
    local.listen(8)
    selector.register(local, selectors.EVENT_READ, 'local')
    print(json.dumps({'k3s': k3s_is_installed(), 'held': held, 'busy': busy, 'failed': failed, 'overlay': overlay_address()}), flush=True)
    if held and os.fork() == 0:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        answer(selector, set(arguments['peers']), time.monotonic() + arguments['seconds'])
        for key in list(selector.get_map().values()):
            if key.data in ('tcp', 'udp', 'local'):
                key.fileobj.close()  # before the connection of whoever waits for this end is closed by the exit
    os._exit(0)


def answer(selector, missing, deadline):
    """Answers whoever asks, until the last peer has said goodbye."""
    while missing and (left := deadline - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            opened, kind = key.fileobj, key.data
            try:
                if kind in ('tcp', 'local'):
                    connection, _ = opened.accept()
                    if kind == 'tcp':
                        connection.sendall(GREETING)
                    selector.register(connection, selectors.EVENT_READ, 'peer' if kind == 'tcp' else 'order')
                    continue
                if kind == 'udp':
                    text, sender = opened.recvfrom(65535)
                    if not text.startswith(b'bye'):
                        opened.sendto(text[:16], sender)
                else:
                    text = opened.recv(256)
            except OSError:
                text = b''
            if text.startswith(b'bye '):
                missing.discard(text.split()[1].decode())
            if kind == 'order' and text:
                return
            if kind != 'udp' and not text:
                selector.unregister(opened)
                opened.close()


def overlay_address():
    """This node's address in the pod network, or '' while flannel is not there."""
    import fcntl
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            request = struct.pack('256s', b'flannel.1')
            return socket.inet_ntoa(fcntl.ioctl(any_socket, 0x8915, request)[20:24])  # SIOCGIFADDR
        except OSError:
            return ''


class Attempt:
    """One target that is being tried."""

    def __init__(self, target, number):
        self.target, self.number, self.result = target, number, None
        self.partial = False
        self.mark = os.getpid() & 0xffff
        self.protocol, self.size = target['protocol'], target['size']
        self.address = (target['address'], target['port'])
        self.deadline = time.monotonic() + target['seconds']
        self.next_packet = 0
        kinds = {'tcp': (socket.SOCK_STREAM, 0), 'udp': (socket.SOCK_DGRAM, 0),
                 'icmp': (socket.SOCK_RAW, socket.IPPROTO_ICMP)}
        self.socket = socket.socket(socket.AF_INET, *kinds[self.protocol])
        self.socket.setblocking(False)
        if self.protocol != 'tcp':
            self.socket.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
        code = self.socket.connect_ex(self.address)
        if code not in (0, errno.EINPROGRESS):
            self.fail(code)

    def fail(self, code):
        self.result = {errno.ECONNREFUSED: 'refused', errno.EMSGSIZE: 'too big'}.get(code, os.strerror(code))

    def send(self):
        """Datagrams get lost: one of full size and a small one, again and again."""
        self.next_packet = time.monotonic() + 0.3
        try:
            if self.protocol == 'udp':
                self.socket.send(b'small'.ljust(16))
                self.socket.send(b'full'.ljust(self.size))
            if self.protocol == 'icmp':
                self.socket.send(self.echo_request())
        except OSError as error:
            self.fail(error.errno)

    def echo_request(self):
        """Type 8 with a body of zeros, so that the checksum is the header's alone (RFC 792)."""
        total = (8 << 8) + self.mark + self.number
        total = (total & 0xffff) + (total >> 16)
        return struct.pack('!BBHHH', 8, 0, ~total & 0xffff, self.mark, self.number) + bytes(self.size)

    def receive(self):
        try:
            if self.protocol == 'tcp':
                code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    self.fail(code)
                else:
                    self.result = 'open'
                return
            text = self.socket.recv(65535)
            if self.protocol == 'udp':
                self.partial = True
                if text.startswith(b'full'):
                    self.result = 'open'
            else:
                reply = text[(text[0] & 15) * 4:]
                if reply[0] == 0 and struct.unpack('!HH', reply[4:8]) == (self.mark, self.number):
                    self.result = 'open'
        except BlockingIOError:
            pass
        except OSError as error:
            self.fail(error.errno)

    def give_up(self):
        self.result = 'only small' if self.partial else 'no answer'

    def say_goodbye(self, name):
        """Only to our own listener: a connection to K3s is closed without a word."""
        try:
            if self.protocol == 'udp' and self.result == 'open':
                self.socket.send(b'bye ' + name)
            if self.protocol == 'tcp' and self.result == 'open' and self.socket.recv(16) == GREETING:
                self.socket.send(b'bye ' + name)
        except OSError:
            pass
        self.socket.close()


def probe(arguments):
    started = time.monotonic()
    attempts = [Attempt(target, number) for number, target in enumerate(arguments['targets'])]
    selector = selectors.DefaultSelector()
    for attempt in attempts:
        if attempt.result is None:
            events = selectors.EVENT_WRITE if attempt.protocol == 'tcp' else selectors.EVENT_READ
            selector.register(attempt.socket, events, attempt)
    while selector.get_map():
        now = time.monotonic()
        for attempt in [key.data for key in selector.get_map().values()]:
            if attempt.result is None and now >= attempt.deadline:
                attempt.give_up()
            elif attempt.result is None and attempt.protocol != 'tcp' and now >= attempt.next_packet:
                attempt.send()
            if attempt.result is not None:
                selector.unregister(attempt.socket)
        for key, _ in selector.select(0.1):
            key.data.receive()
            if key.data.result is not None:
                selector.unregister(key.fileobj)
    for attempt in attempts:
        print(json.dumps({**attempt.target, 'result': attempt.result}))
    time.sleep(max(0, started + 0.15 - time.monotonic()))  # a listener greets a moment after the kernel has answered
    for attempt in attempts:
        attempt.say_goodbye(arguments['name'].encode())
    sys.stdout.flush()
    end_listener(channel_of(arguments), arguments['farewell'])


if __name__ == '__main__':
    os.closerange(3, 256)  # what the shell left open would keep the ssh command from ending
    {'listen': listen, 'probe': probe}[sys.argv[1]](json.loads(sys.argv[2]))
