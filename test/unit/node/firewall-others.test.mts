import { readFile } from 'node:fs/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { changeCommands } from '../../../lib/node/firewall.mts'
import { declared, difference, parseState } from '../../../lib/node/firewall-rules.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { hostOf } from '../../support/hosts.mts'

const first = hostOf('k3s-master-01', { role: 'server', address: '10.0.0.100' })
const second = hostOf('k3s-master-02', { role: 'server', address: '10.0.0.101' })
const worker = hostOf('k3s-worker-01', { address: '10.0.0.110' })
const hosts = [first, second, worker]
const around = { hosts, settings: defaultSettings(), nic: 'enp7s0', ssh: { from: '10.0.0.2', port: '22' } }

const converged = await readFile(new URL('../../fixtures/firewall/converged-server.txt', import.meta.url), 'utf8')
const kubelet = "ufw allow in on enp7s0 from 10.0.0.110 to any port 10250 proto tcp comment 'keybuzz-k3s: kubelet'\n"

const found = (text: string, host: Host = first) => difference(declared(host, around), host, parseState(text))
/** A rule behind all others, and one before them, as `ufw insert 1` or an earlier script leaves it. */
const behind = (line: string): string => converged.replace('# file\n', `${line}\n# file\n`)
const before = (line: string): string => converged.replace(/(# added\n.*\n)/, `$1${line}\n`)
const remedy = (line: string): string => `remove it, it is not ours: ${line.replace(/^ufw (route )?/, 'ufw $1delete ').replace(/ comment .*/, '')}`

const opening: Record<string, string> = {
  'ufw allow 8472': '8472/udp',
  'ufw allow 8472/udp': '8472/udp',
  'ufw allow 6443/tcp': '6443/tcp',
  'ufw allow 6443': '6443/tcp',
  'ufw allow 10250/tcp': '10250/tcp',
  'ufw allow 2379:2380/tcp': '2379/tcp, 2380/tcp',
  "ufw allow 2379,2380/tcp comment 'etcd: do not remove'": '2379/tcp, 2380/tcp',
  'ufw allow 2381/tcp': '2381/tcp',
  'ufw limit 2000:9000/tcp': '2379/tcp, 2380/tcp, 2381/tcp, 6443/tcp',
  'ufw allow in on eth0 to any port 8472 proto udp': '8472/udp',
  'ufw allow in on eth0 from 198.51.100.0/24 to any port 2379 proto tcp': '2379/tcp',
  'ufw allow in on eth0': '8472/udp, 2379/tcp, 2380/tcp, 2381/tcp, 6443/tcp, 10250/tcp',
  'ufw allow to any proto udp': '8472/udp',
  'ufw allow log 8000:9000/udp': '8472/udp'
}
for (const [line, ports] of Object.entries(opening)) {
  test(`a rule of others that opens too much is reported with its number, not touched: ${line}`, () => {
    const change = found(behind(line))
    assert.equal(change.conflicts, [`rule 21 of \`ufw status numbered\`, "${line}" opens ${ports} beyond the private network: ${remedy(line)}`])
    assert.equal(change.remove, [])
    assert.equal(changeCommands(change), [])
  })
}

const harmless = [
  'ufw allow 22/tcp',
  'ufw allow 80,443/tcp',
  'ufw allow OpenSSH',
  "ufw allow 'Nginx Full'",
  'ufw allow 8472/tcp',
  'ufw allow 6443/udp',
  'ufw allow in on enp7s0',
  'ufw allow in on enp7s0 to any port 2379 proto tcp',
  'ufw allow from 10.0.0.0/8',
  'ufw allow from 203.0.113.7 to any port 2379 proto tcp',
  'ufw deny 8472/udp',
  'ufw deny from 10.0.0.0/8',
  'ufw allow out 8472/udp',
  'ufw allow out on eth0 to any port 8472 proto udp',
  'ufw route allow in on eth0 out on docker0',
  "ufw allow 9100/tcp comment 'opens 8472 in on eth0'"
]
for (const line of harmless) {
  test(`behind ours, a rule of others that opens no more than it may is none of our business: ${line}`, () => {
    assert.equal(found(behind(line)).conflicts, [])
  })
}

test('on an agent nobody is told off for etcd and the API', () => {
  assert.equal(found(behind('ufw allow 2379:2380/tcp\nufw allow 6443/tcp'), worker).conflicts, [])
})

const inside = 'API and supervisor 6443/tcp, etcd 2379:2380/tcp, kubelet 10250/tcp, pod network (VXLAN) 8472/udp, ingress from the load balancers 80,443/tcp, ingress from the bastion 80,443/tcp, metrics for Prometheus 9100,9113/tcp, etcd metrics for Prometheus 2381/tcp'
const closing: Record<string, string> = {
  'ufw deny from 10.0.0.0/8': `ssh from the bastion 22/tcp, ${inside}, pods to their node, pods of other nodes`,
  'ufw deny in on enp7s0': `ssh from the bastion 22/tcp, ${inside}`,
  'ufw reject from 10.0.0.101': 'API and supervisor 6443/tcp, etcd 2379:2380/tcp, kubelet 10250/tcp, pod network (VXLAN) 8472/udp',
  'ufw deny 8472/udp': 'pod network (VXLAN) 8472/udp',
  'ufw limit in on enp7s0 to any port 6443 proto tcp': 'API and supervisor 6443/tcp',
  'ufw deny 10000:11000/tcp': 'kubelet 10250/tcp',
  'ufw deny from 10.42.7.0/24': 'pods to their node, pods of other nodes',
  'ufw deny from any to 10.0.0.100 port 443 proto tcp': 'ingress from the load balancers 80,443/tcp, ingress from the bastion 80,443/tcp',
  'ufw route deny from 10.42.0.0/16 to 10.0.0.0/8': 'pods to anywhere, pods of other nodes to pods',
  "ufw deny 2380/tcp comment 'audit 2025'": 'etcd 2379:2380/tcp'
}
for (const [line, purposes] of Object.entries(closing)) {
  test(`a rule of others that stands before ours and keeps the cluster out is reported: ${line}`, () => {
    const change = found(before(line))
    assert.equal(change.conflicts, [`rule 1 of \`ufw status numbered\`, "${line}" keeps out what the cluster needs (${purposes}): ${remedy(line)}`])
    assert.equal(change.remove, [])
  })
}

const besides = [
  'ufw deny in on eth0', // closes the public side
  'ufw deny in on eth0 to any port 22 proto tcp',
  'ufw deny from 203.0.113.0/24',
  'ufw deny from 10.0.0.50', // a machine that is none of the cluster
  'ufw deny from 10.0.7.0/24',
  'ufw deny 3306/tcp',
  'ufw deny 10250/udp',
  'ufw deny out 25/tcp',
  'ufw deny from any to 10.0.0.102 port 6443 proto tcp',
  'ufw route deny in on eth0 out on docker0',
  'ufw deny from 2001:db8::/32',
  "ufw deny 'Nginx Full'",
  'ufw deny from any port 53'
]
for (const line of besides) {
  test(`before ours, a rule that keeps out nothing of the cluster is none of our business: ${line}`, () => {
    assert.equal(found(before(line)).conflicts, [])
  })
}

test('where a rule of ours is missing, it would be added behind the one that denies', () => {
  const line = 'ufw deny from 10.0.0.110'
  assert.equal(found(behind(line)).conflicts, [])
  assert.equal(found(behind(line).replace(kubelet, '')).conflicts, [
    `rule 20 of \`ufw status numbered\`, "${line}" keeps out what the cluster needs (kubelet 10250/tcp): ${remedy(line)}`
  ])
})

test('a rule of others that denies what one of ours would allow is reported: ufw would turn it into ours', () => {
  const line = kubelet.trim().replace('allow', 'deny').replace(/ comment .*/, " comment 'audit 2025'")
  assert.equal(found(behind(line).replace(kubelet, '')).conflicts, [
    `rule 20 of \`ufw status numbered\`, "${line}" keeps out what the cluster needs (kubelet 10250/tcp): ${remedy(line)}`
  ])
})

test('a rule for IPv6 alone has another number than its place here', () => {
  const line = 'ufw allow in on eth0 from 2001:db8::/32 to any port 6443 proto tcp'
  assert.match(found(behind(line)).conflicts.join(), /^"ufw allow in on eth0 from 2001:db8::\/32 to any port 6443 proto tcp" opens 6443\/tcp/)
})

// As iproute2 6.1 prints it.
const listening = `udp   UNCONN 0      0                 0.0.0.0:51820      0.0.0.0:*
udp   UNCONN 0      0                    [::]:51820         [::]:*
udp   UNCONN 0      0      127.0.0.53%lo:53         0.0.0.0:*    users:(("systemd-resolve",pid=300,fd=13))
udp   UNCONN 0      0          10.0.0.100%enp7s0:68         0.0.0.0:*    users:(("systemd-network",pid=301,fd=15))
udp   UNCONN 0      0                 0.0.0.0:1194       0.0.0.0:*    users:(("openvpn",pid=900,fd=7))
tcp   LISTEN 0      4096              0.0.0.0:22         0.0.0.0:*    users:(("sshd",pid=1,fd=3))
tcp   LISTEN 0      4096              127.0.0.1:10248      0.0.0.0:*    users:(("k3s-server",pid=800,fd=3))
tcp   LISTEN 0      4096                    *:6443             *:*    users:(("k3s-server",pid=800,fd=4))
tcp   LISTEN 0      4096                    *:10256            *:*    users:(("k3s-server",pid=800,fd=5))
tcp   LISTEN 0      511               0.0.0.0:80         0.0.0.0:*    users:(("nginx",pid=1200,fd=6),("nginx",pid=1201,fd=6))
tcp   LISTEN 0      244       [::ffff:127.0.0.1]:5432             *:*    users:(("postgres",pid=500,fd=6))
tcp   LISTEN 0      244                    [::]:5433          [::]:*    users:(("e\u001b]0;vil",pid=501,fd=6))
tcp   LISTEN 0      244             10.0.0.100:9100       0.0.0.0:*    users:(("node_exporter",pid=502,fd=6))
`
const off = converged.replace('# installed\n', `# listening\n${listening}# installed\n`).replace('ENABLED=yes', 'ENABLED=no').replace(/# kernel\n[^]*/, '# kernel\n')
const ends = (text: string): string[] => found(text).words.filter((word) => word.startsWith('this '))

test('before ufw is switched on, the plan says which ways in that ends', () => {
  const closes = 'this closes what listens on 1194/udp openvpn, 5433/tcp e??0?vil, 51820/udp'
  // The fixture has rules of others for 9100 and, from anywhere, for 22.
  assert.equal(ends(off), [closes])
  const bare = off.replace("ufw allow 22/tcp comment 'ssh'\n", '').replace("ufw allow 9100/tcp comment 'node exporter'\n", '')
  assert.equal(ends(bare), [
    'this closes what listens on 1194/udp openvpn, 5433/tcp e??0?vil, 9100/tcp node_exporter, 51820/udp',
    'this leaves ssh, 22/tcp, to 10.0.0.2 alone'
  ])
  const other = "ufw allow from 10.0.0.3 to any port 22 proto tcp comment 'keybuzz-k3s: ssh from the bastion'\n"
  assert.is(ends(bare.replace('# file\n', `${other}# file\n`))[1], 'this leaves ssh, 22/tcp, to 10.0.0.2, 10.0.0.3 alone')
})

test('so it does where ufw is not there yet, or lets in whatever no rule denies', () => {
  const absent = off.replace(/# installed[^]*/, '')
  assert.is(ends(absent).length, 2)
  assert.match(ends(absent)[0]!, /9100\/tcp node_exporter/)
  const open = off.replace(/# settings[^]*/, '') + converged.slice(converged.indexOf('# settings'))
  assert.equal(ends(open), [], 'on, and denying')
  assert.is(ends(open.replace('DEFAULT_INPUT_POLICY="DROP"', 'DEFAULT_INPUT_POLICY="ACCEPT"')).length, 1)
})

test.run()
