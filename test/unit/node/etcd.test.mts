import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Host } from '../../../lib/input/inventory.mts'
import type { Result } from '../../../lib/reach/ssh.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import {
  handOverLead, hasNoStaleMember, healthByHand, isOneCluster, isVoter, leaderLast, mayBeChanged, mustBeHealthy, otherMembers,
  parseEtcd, readEtcd, readMembers, restartGate, takesSnapshots, type Membership
} from '../../../lib/node/etcd.mts'
import { answeringSsh } from '../../support/answering-ssh.mts'
import { hostOf } from '../../support/hosts.mts'
import { beat, withKubelet, type Kubelet } from '../../support/kubelet.mts'
import { commands, onNode } from '../../support/node-shell.mts'

const server = (number: number, user = 'root'): Host =>
  hostOf(`k3s-master-0${number}`, { role: 'server', address: `10.0.0.10${number - 1}`, user })
const [first, second, third] = [server(1), server(2), server(3, 'admin')]
const servers = [first, second, third]

const failure = async (promise: Promise<unknown>): Promise<Error> => {
  try {
    await promise
  } catch (error) {
    return error as Error
  }
  throw new Error('it did not fail')
}

const leader = `{"health":"true","reason":""}
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} 900
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.008"} 985
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.016"} 995
etcd_disk_wal_fsync_duration_seconds_bucket{le="+Inf"} 1000
etcd_disk_wal_fsync_duration_seconds_count 1000
etcd_mvcc_db_total_size_in_bytes 4.2e+06
etcd_server_has_leader 1
etcd_server_is_leader 1
etcd_server_is_learner 0
etcd_server_leader_changes_seen_total 3
etcd_server_quota_backend_bytes 2.147483648e+09
`

test('what etcd tells is read', () => {
  assert.equal(parseEtcd(leader), {
    leads: true, hasLeader: true, isLearner: false, healthy: true,
    size: 4_200_000, quota: 2 ** 31, fsyncP99: 0.016, leaderChanges: 3
  })
})

test('an etcd that has lost its quorum has no leader and is not healthy', () => {
  const lost = parseEtcd(leader.replace('"true"', '"false"').replace('has_leader 1', 'has_leader 0').replace('is_leader 1', 'is_leader 0'))
  assert.equal([lost.healthy, lost.hasLeader, lost.leads], [false, false, false])
})

test('fsyncs slower than the last bucket are beyond every bound', () => {
  assert.is(parseEtcd(leader.replaceAll(/ (900|985|995)$/gm, ' 1')).fsyncP99, Infinity)
})

const bash = async (shell: string, path = process.env['PATH']): Promise<string> =>
  (await promisify(execFile)('bash', ['-c', `set -euo pipefail\n${shell}`], { env: { ...process.env, PATH: path } })).stdout

// etcd's metrics address, made up on a port of this machine.
const withEtcd = async (health: string, use: (port: number) => Promise<void>): Promise<void> => {
  const etcd = createServer(({ url }, response) => {
    if (url === '/health') response.writeHead(health.includes('"true"') ? 200 : 503).end(health)
    else response.end(`# HELP etcd_server_id x\netcd_server_id{server_id="abc"} 1\n${leader.split('\n').slice(1).join('\n')}`)
  })
  await new Promise<void>((resolve) => void etcd.listen(0, '127.0.0.1', resolve))
  try {
    await use((etcd.address() as AddressInfo).port)
  } finally {
    etcd.close()
  }
}

test('etcd is asked over plain HTTP on its node, with what bash has', async () => {
  await withEtcd('{"health":"true","reason":""}', async (port) => {
    const ssh = answeringSsh((script) => bash(script.replaceAll('2381', String(port))))
    assert.equal(await readEtcd(ssh, first), parseEtcd(leader))
    const { healthy, leads } = await readEtcd(ssh, first, { paths: ['metrics'], timeout: 5 })
    assert.equal([healthy, leads], [false, true], 'only what was asked for is known')
    assert.is(ssh.asked.at(-1)?.seconds, 5)
  })
})

test('an etcd that says why it is not healthy answers, one that is not there does not', async () => {
  let free = 0
  await withEtcd('{"health":"false","reason":"RAFT NO LEADER"}', async (port) => {
    free = port
    assert.is((await readEtcd(answeringSsh((script) => bash(script.replaceAll('2381', String(port)))), first)).healthy, false)
  })
  await failure(readEtcd(answeringSsh((script) => bash(script.replaceAll('2381', String(free)))), first))
})

/** Servers whose etcd is healthy, but for the named ones. */
const cluster = (sick: string[] = [], answer: (script: string) => string | Partial<Result> = () => '') => {
  const ssh = answeringSsh((script, { name }) => {
    if (!script.includes('2381')) return answer(script)
    return sick.includes(name) ? { exitCode: 1, stderr: 'Connection refused' } : leader
  })
  return { ssh, done: () => ssh.asked.filter(({ script }) => !script.includes('2381')) }
}

test('every server that is sick, or does not answer, is named', async () => {
  await mustBeHealthy(cluster().ssh, servers)
  assert.is((await failure(mustBeHealthy(cluster([second.name, third.name]).ssh, servers))).message,
    'the quorum would be at risk: etcd on k3s-master-02, k3s-master-03 is not healthy')
  const lost = answeringSsh(() => leader.replace('"true"', '"false"'))
  assert.match((await failure(mustBeHealthy(lost, [first]))).message, /k3s-master-01 is not healthy/)
})

test('by hand every server is asked, with what each has: curl may be missing', async () => {
  await withEtcd('{"health":"true","reason":""}', async (port) => {
    const path = commands({ ssh: 'echo "on $1" >&2; shift; exec "$@"', curl: 'exit 127' })
    const text = healthByHand([first, third]).replaceAll('2381', String(port))
    const said = (await bash(text, `${path}:${process.env['PATH']}`)).split(/\r?\n/)
    assert.equal(said.filter((line) => /^root@|^admin@|health/.test(line)),
      ['root@10.0.0.100:', '{"health":"true","reason":""}', 'admin@10.0.0.102:', '{"health":"true","reason":""}'])
  })
})

test('an interruption is not taken for a sick server', async () => {
  const interrupted = Object.assign(new Error('interrupted'), { name: 'AbortError' })
  assert.is(await failure(mustBeHealthy(answeringSsh(() => { throw interrupted }), servers)), interrupted)
})

test('a restart waits for the other voters, not for the server itself, takes a snapshot, and hands the lead over', async () => {
  const { ssh, done } = cluster([first.name])
  await restartGate(ssh, first, servers).pass()
  assert.equal(ssh.asked.slice(0, 2).map(({ host }) => host), [second.name, third.name])
  assert.equal(done(), [{
    host: first.name, seconds: 120,
    script: 'k3s etcd-snapshot save --name before-restart\nk3s etcd-snapshot prune --name before-restart --snapshot-retention 5'
  }, { host: first.name, seconds: 40, script: handOverLead }])
})

test('a lead that cannot be handed over stops no restart: the others elect one by themselves', async () => {
  const ssh = answeringSsh((script) => {
    if (script === handOverLead) return { exitCode: 1, stderr: 'etcd cannot be asked to hand over: refused' }
    return script.includes('2381') ? leader : ''
  })
  await restartGate(ssh, first, servers).pass()
  assert.is(ssh.asked.at(-1)?.script, handOverLead)
})

/** What the hand-over says and does, with a made-up gateway of etcd. */
const handOver = async (own: string, open: number[] = [2382]): Promise<{ said: string; code: number | null; moved: unknown[] }> => {
  const moved: unknown[] = []
  const members = [{ ID: '1', name: 'one' }, { ID: '2', name: 'two', isLearner: true }, { ID: '3', name: 'three' }]
  const etcd = createServer((request, response) => {
    let body = ''
    request.on('data', (part) => (body += part)).on('end', () => {
      if (request.url === '/v3/maintenance/status') return response.end(JSON.stringify({ leader: '1', header: { member_id: own } }))
      if (request.url === '/v3/cluster/member/list') return response.end(JSON.stringify({ members }))
      moved.push([request.method, request.url, JSON.parse(body)])
      response.end('{}')
    })
  })
  await new Promise<void>((resolve) => void etcd.listen(0, '127.0.0.1', resolve))
  const { port } = etcd.address() as AddressInfo
  const ports = [2382, 2379].map((one) => (open.includes(one) ? port : 1)).join(', ')
  // Without TLS: the certificates are K3s's.
  const shell = handOverLead.replace('(2382, 2379)', `(${ports})`).replace('https:', 'http:').replace(/^context\..*$/gm, '')
    .replace("context = ssl.create_default_context(cafile=tls + 'server-ca.crt')", 'context = None')
  try {
    const result = await new Promise<{ said: string; code: number | null }>((resolve) =>
      void execFile('bash', ['-c', shell], (error, stdout, stderr) =>
        resolve({ said: (stdout + stderr).trim(), code: error ? Number(error.code) : 0 })))
    return { ...result, moved }
  } finally {
    etcd.close()
  }
}

test('the server that leads etcd asks another voter to lead, and no learner', async () => {
  const asked = [['POST', '/v3/maintenance/transfer-leadership', { targetID: '3' }]]
  assert.equal(await handOver('1'), { said: 'etcd is now led by three', code: 0, moved: asked })
  assert.equal(await handOver('1', [2379]), { said: 'etcd is now led by three', code: 0, moved: asked }, 'an older K3s')
})

test('a server that does not lead hands nothing over, and one that cannot be asked says so', async () => {
  assert.equal(await handOver('3'), { said: '', code: 0, moved: [] })
  const { said, code } = await handOver('1', [])
  assert.match(said, /^etcd cannot be asked to hand over: .*refused/)
  assert.is(code, 1)
})

const mayChange = (differs: boolean, sick: string[], others = [second, third]): Promise<string> => {
  const { ssh } = cluster(sick, () => ({ stdout: `\u001e0\n${differs ? 'is another one' : '= seen'}`, stderr: '\u001e' }))
  return (mayBeChanged(first, { ssh }, others, [{ name: 'x', check: 'true', change: 'true' }]).check as () => Promise<string>)()
}

test('with a sick voter nothing is changed on another server, and that refuses an apply from the plan on', async () => {
  assert.is((await failure(mayChange(true, [third.name]))).message, 'the quorum would be at risk: etcd on k3s-master-03 is not healthy')
  assert.is(await mayChange(true, []), '= etcd on all others is healthy')
  assert.is(await mayChange(true, [third.name], [second]), '= etcd on all others is healthy', 'a server that is rebuilt does not count')
  assert.is(mayBeChanged(first, cluster(), [second], []).always, true)
})

test('with a sick voter and nothing to change there is nothing to refuse', async () => {
  assert.is(await mayChange(false, [second.name, third.name]), '= nothing is to be changed')
})

test('a server tells which cluster it holds, whether K3s runs, and whether its etcd leads', async () => {
  const hash = 'a'.repeat(64)
  const answers = new Map([[first.name, `${hash}  tls/server-ca.crt\nruns\netcd_server_is_leader 1`], [second.name, 'unfinished'], [third.name, '']])
  assert.equal(await readMembers({ ask: async () => answers }, servers), new Map([
    [first.name, { ca: hash, runs: true, leads: true }],
    [second.name, { ca: 'unfinished', runs: false, leads: false }],
    [third.name, { ca: '', runs: false, leads: false }]
  ]))
})

test('the question for that is answered by what is on the node', async () => {
  const data = mkdtempSync(join(tmpdir(), 'keybuzz-member-'))
  let shell = ''
  await readMembers({ ask: async (_, question) => ((shell = question.shell(first)), new Map()) }, servers)
  const ask = async (port: number): Promise<string[]> => {
    const text = shell.replaceAll('/var/lib/rancher/k3s/server', data).replaceAll('2381', String(port))
    return (await bash(text, `${commands({ systemctl: 'echo active' })}:${process.env['PATH']}`)).trim().split('\n')
  }
  await withEtcd('{"health":"true"}', async (port) => {
    assert.equal(await ask(port), [''])
    mkdirSync(join(data, 'db/etcd/member/wal'), { recursive: true })
    assert.equal(await ask(1), ['unfinished', 'runs'])
    mkdirSync(join(data, 'tls'))
    writeFileSync(join(data, 'tls/server-ca.crt'), 'ca')
    assert.match((await ask(port)).join('|'), /^[0-9a-f]{64} {2}tls\/server-ca\.crt\|runs\|etcd_server_is_leader 1$/)
  })
})

const holds = (ca: string): Membership => ({ ca, runs: ca !== '', leads: false })

test('other members are those with data, and those that do not answer', () => {
  const members = new Map([[first.name, holds('a')], [second.name, holds('')]])
  assert.equal(otherMembers(first, { servers, mode: 'plan' }, members), [third])
  assert.equal(otherMembers(second, { servers, mode: 'apply' }, members), [first, third])
  assert.equal(otherMembers(first, { servers, mode: 'runbook' }, members), [second, third])
})

test('the server that leads etcd restarts last, the others in their order', () => {
  const members = new Map([[first.name, { ...holds('a'), leads: true }], [second.name, holds('a')]])
  assert.equal(leaderLast(servers, members), [second, third, first])
  assert.equal(leaderLast(servers, new Map()), servers)
})

test('servers of different clusters, or one that may hold another, are refused', async () => {
  const says = (...cas: (string | undefined)[]): Promise<string> =>
    isOneCluster(servers, new Map(cas.flatMap((ca, index) => (ca === undefined ? [] : [[servers[index]!.name, holds(ca)]])))).check()
  assert.is(await says('', '', ''), '')
  assert.is(await says('a', '', 'a'), '')
  assert.is(await says('a', undefined, 'unfinished'), '')
  assert.is(await says('aaaaaaaaaa', 'b', ''), 'the servers hold different clusters: k3s-master-01 aaaaaaaa, k3s-master-02 b')
  assert.is(await says('', undefined, ''), 'k3s-master-02 may hold a cluster, and does not answer')
})

test('where another voter is sick nothing is restarted, and no snapshot taken', async () => {
  const { ssh, done } = cluster([third.name])
  assert.match((await failure(restartGate(ssh, first, servers).pass())).message, /etcd on k3s-master-03 is not healthy/)
  assert.equal(done(), [])
})

test('by hand a restart has the same gate, with sudo where that is needed', () => {
  assert.is(restartGate(cluster().ssh, third, servers).byHand, `${healthByHand([first, second])}
ssh admin@10.0.0.102 '${['save --name before-restart', 'prune --name before-restart --snapshot-retention 5']
    .map((words) => `sudo k3s etcd-snapshot ${words}`).join(' && ')}'
# Where its etcd leads, another one takes over. Go on also where this fails.
ssh admin@10.0.0.102 sudo bash -s <<'SCRIPT'
${handOverLead}
SCRIPT`)
})

test('a stale member is told where the cluster still has the Node of a server without data', async () => {
  const told = (node: string): Promise<string> => {
    const { ssh } = cluster([], () => node)
    return (hasNoStaleMember(second, { ssh }, first, [first, third]).check as () => Promise<string>)()
  }
  assert.is(await told(''), '')
  assert.match(await told('node/k3s-master-02\n'), /etcd still counts it/)
})

test('a stale member is removed by a server that runs, once all others are healthy', async () => {
  const { ssh, done } = cluster([second.name])
  await (hasNoStaleMember(second, { ssh }, first, [first, third]).change as () => Promise<void>)()
  assert.equal(done().map(({ host, script }) => [host, script.split(' ').slice(0, 5).join(' ')]), [
    [first.name, 'k3s kubectl delete node k3s-master-02'],
    [second.name, 'for link in cni0 flannel.1;']
  ])
})

test('with another voter down no stale member is removed', async () => {
  const { ssh, done } = cluster([third.name])
  const { change } = hasNoStaleMember(second, { ssh }, first, [first, third])
  assert.match((await failure((change as () => Promise<void>)())).message, /the quorum would be at risk/)
  assert.equal(done(), [])
})

test('by hand the server that removes a stale member is asked too, also where no other one is known', () => {
  assert.ok(hasNoStaleMember(second, cluster(), first, []).byHand!.startsWith(healthByHand([first])))
})

test('by hand a stale member is seen and removed the same way', () => {
  const { look, byHand } = hasNoStaleMember(second, cluster(), third, [first, third])
  assert.is(look, 'ssh admin@10.0.0.102 sudo k3s kubectl get node k3s-master-02     # "not found" is what should be')
  assert.is(byHand, `${healthByHand([third, first])}
ssh admin@10.0.0.102 sudo k3s kubectl delete node k3s-master-02 --timeout=60s
ssh root@10.0.0.101 'ip link delete cni0; ip link delete flannel.1'     # "Cannot find device" is fine`)
})

const voter = (conditions: string, { readyz = 'echo ok', ...kubelet }: Kubelet & { readyz?: string } = {}): Promise<string> =>
  withKubelet(isVoter(first).check as string, {
    journal: 'time=x level=info msg=fine\ntime=x level=fatal msg="no quorum"',
    others: {
      k3s: `case "$*" in *readyz) ${readyz};; *lastHeartbeatTime*) echo '${kubelet.ready ?? `${beat} True well`}';; *jsonpath*) echo '${conditions}';; esac`
    },
    ...kubelet
  })

test('a server whose API is not ready says what fails, and what K3s has logged', async () => {
  assert.is(await voter('', { readyz: `echo 'Error from server (InternalError): an error: "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed"' >&2; exit 1` }),
    'its API is not ready: [-]etcd failed: reason withheld\ntime=x level=fatal msg="no quorum"')
  assert.is(await voter('', { readyz: "echo 'The connection was refused' >&2; exit 1" }),
    'its API is not ready: The connection was refused\ntime=x level=fatal msg="no quorum"')
})

test('a server is a voter where its Node says so', async () => {
  assert.is(await voter('Ready=True EtcdIsVoter=True '), '')
  assert.is(await voter('Ready=True EtcdIsVoter=False '), 'is not EtcdIsVoter yet')
})

test('a server whose kubelet is dead is not well, though its Node still says Ready', async () => {
  assert.match(await voter('Ready=True EtcdIsVoter=True ', { healthz: '' }), /^its kubelet does not answer on 127\.0\.0\.1:10248\n.*no quorum/)
  assert.match(await voter('Ready=True EtcdIsVoter=True ', { ready: '2026-11-26T09:59:00Z True well' }), /^has sent no heartbeat since K3s was started/)
})

/** What the step says of snapshots that are so many hours old, where one is taken every 6 hours. */
const snapshots = (ages: number[], started: number): string => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-snapshots-'))
  const make = (name: string, hours: number): void => {
    writeFileSync(join(folder, name), '')
    utimesSync(join(folder, name), Date.now() / 1000 - hours * 3600 - 30, Date.now() / 1000 - hours * 3600 - 30)
  }
  for (const name of ['tls', ...(ages.length > 0 ? ['db/snapshots'] : [])]) mkdirSync(join(folder, name), { recursive: true })
  make('tls/server-ca.crt', started)
  ages.forEach((hours, index) => make(`db/snapshots/etcd-${index}`, hours))
  const check = takesSnapshots({ ...defaultSettings(), snapshots: { schedule: '0 */6 * * *', retention: 28 } }).check as string
  return onNode(check.replaceAll('/var/lib/rancher/k3s/server', folder)).stdout
}

test('snapshots are told by the newest one, and one that is due for long is missed', () => {
  assert.is(snapshots([9, 3], 100), '= the newest of 2 is 180 min old, one is taken every 360 min')
  assert.is(snapshots([], 2), '= none yet: the first one is still to come')
  assert.match(snapshots([13], 100), /\nthe newest is 13 h old: the schedule is '0 \*\/6 \* \* \*'$/)
  assert.is(snapshots([], 30), "none was taken in 30 h: the schedule is '0 */6 * * *'")
})

test.run()
