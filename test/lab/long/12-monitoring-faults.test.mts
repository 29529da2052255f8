// What an operator is told of each fault that the lab can make: one message, within two minutes where it pages, and its end.
import * as assert from 'uvu/assert'
import { bastion, kill, labUp, start } from '../nodes.mts'
import { mailSecrets } from '../secrets.mts'
import { changed, hosts, request } from '../tests/apps.mts'
import { converge, kubectl, on, script, until } from '../tests/cluster.mts'
import { arrives, forget, query, toldInWords } from '../tests/monitoring.mts'
import { test } from '../tests/timed.mts'

await labUp()
await converge()

const firing = 'ALERTS{alertstate="firing", severity="page"}'
const took: string[] = []

type Fault = {
  alert: string
  /** Who is told: "pages firing NodeDown k3s-worker-02" and so on, nothing else among the pages. */
  pages: string[]
  make: () => Promise<unknown>
  mend: () => Promise<unknown>
}

/** Makes a fault, waits for its message and for what else might come, mends it, and waits for the end of the alert. */
const fault = async ({ alert, pages, make, mend }: Fault): Promise<void> => {
  await until('no page is due', 300, async () => (await query(firing)).length === 0)
  await forget()
  const from = Date.now()
  await make()
  try {
    const seconds = await arrives(alert, 'firing', 200, from)
    took.push(`${alert}: ${seconds.toFixed(0)} s`)
    assert.ok(seconds < 120, `${seconds} s`)
    await until('a while after it', 60, async () => Date.now() > from + (seconds + 45) * 1000)
    assert.equal((await toldInWords('pages', from)).toSorted(), pages.toSorted())
  } finally {
    await mend()
  }
  await arrives(alert, 'resolved', 400, from)
}

test('a database that stops is one page, though every application needs it', () => fault({
  alert: 'PostgresDown', pages: ['pages firing PostgresDown postgres'], make: () => kill('db-master-01'), mend: () => start('db-master-01')
}))

test('a database that hangs is one page too, though it takes connections', () => fault({
  alert: 'PostgresDown', pages: ['pages firing PostgresDown postgres'],
  make: () => on('db-master-01', 'pkill -STOP postgres'), mend: () => on('db-master-01', 'pkill -CONT postgres')
}))

test('a database and a queue that serve, and refuse only their metrics, are a ticket each and no page', async () => {
  const exporter = (may: string): Promise<string> => on('db-master-01', `su postgres -c "psql -qc 'ALTER ROLE keybuzz_monitoring ${may}'"`)
  await until('no page is due', 300, async () => (await query(firing)).length === 0)
  await forget()
  const from = Date.now()
  await exporter('NOLOGIN')
  await on('queue-01', 'rabbitmq-plugins -q disable rabbitmq_prometheus')
  try {
    const tickets = ['tickets firing MetricsRefused db-master-01', 'tickets firing MetricsRefused queue-01']
    await until('both are told', 200, async () => (await toldInWords('tickets', from)).toSorted().join() === tickets.join())
    assert.equal(await toldInWords('pages', from), [])
  } finally {
    await exporter('LOGIN')
    await on('queue-01', 'rabbitmq-plugins -q enable rabbitmq_prometheus')
  }
  await arrives('MetricsRefused', 'resolved', 200, from)
})

test('an etcd member without K3s is one page', () => fault({
  alert: 'K3sDown', pages: ['pages firing K3sDown k3s-master-03'],
  make: () => on('k3s-master-03', 'systemctl stop k3s'), mend: () => on('k3s-master-03', 'systemctl start k3s')
}))

test('the node of a Prometheus loses its power: the other one tells it', async () => {
  const node = await kubectl('-n', 'monitoring', 'get', 'pod', 'prometheus-0', '-o', 'jsonpath={.spec.nodeName}')
  const before = await query('count(count_over_time(up{job="prometheus"}[1h]))', 'prometheus-0')
  await fault({ alert: 'NodeDown', pages: [`pages firing NodeDown ${node}`], make: () => kill(node), mend: () => start(node) })
  await until('the Prometheus that was away knows what it has measured before', 180, async () =>
    (await query('max_over_time(up{job="prometheus"}[30m] offset 5m)', 'prometheus-0').catch(() => [])).length >= before.length)
})

test('workers of n8n that are stopped are one page', () => fault({
  alert: 'N8nWorkersDown', pages: ['pages firing N8nWorkersDown n8n'],
  make: () => kubectl('-n', 'keybuzz-n8n', 'scale', 'deployment', 'n8n-worker', '--replicas=0'),
  mend: () => kubectl('-n', 'keybuzz-n8n', 'scale', 'deployment', 'n8n-worker', '--replicas=2')
}))

test('an application whose pods do not start is one page', () => fault({
  alert: 'AppDown', pages: ['pages firing AppDown front'],
  make: () => kubectl('-n', 'keybuzz-front', 'patch', 'service', 'front', '-p', '{"spec":{"selector":{"app":"nobody"}}}'),
  mend: () => kubectl('-n', 'keybuzz-front', 'patch', 'service', 'front', '-p', '{"spec":{"selector":{"app":"front"}}}')
}))

test('an application that answers with errors is one page', async () => {
  let asking = true
  // What it answers here is a 503 while one of its backends does not take it.
  const clients = (async () => {
    while (asking) await request(hosts.api[0], '/standin/check')
  })()
  await fault({
    alert: 'AppErrors', pages: ['pages firing AppErrors api'],
    make: () => on('queue-01', 'rabbitmqctl -q clear_permissions -p keybuzz api'),
    mend: () => on('queue-01', "rabbitmqctl -q set_permissions -p keybuzz api '.*' '.*' '.*'")
  }).finally(() => {
    asking = false
  })
  await clients
})

test('a disk that is full is one page', () => fault({
  alert: 'NodeDiskFull', pages: ['pages firing NodeDiskFull k3s-worker-03'],
  make: () => on('k3s-worker-03', `[ -b /dev/loop7 ] || mknod /dev/loop7 b 7 7
truncate -s 128M /small.img; mkfs.ext4 -q -F /small.img; mkdir -p /mnt/small; mount -o loop=/dev/loop7 /small.img /mnt/small
head -c 115M /dev/zero > /mnt/small/full || true`),
  mend: () => on('k3s-worker-03', 'umount /mnt/small; rmdir /mnt/small; rm /small.img')
}))

test('a snapshot of etcd that fails is a ticket', async () => {
  const folder = '/var/lib/rancher/k3s/server/db/snapshots'
  await forget()
  const from = Date.now()
  await on('k3s-master-03', `mkdir -p ${folder} && mv ${folder} ${folder}.before && touch ${folder}`)
  try {
    await on('k3s-master-03', 'k3s etcd-snapshot save --name lab-fails && exit 1 || true')
    const seconds = await arrives('EtcdSnapshotFailed', 'firing', 240, from)
    took.push(`EtcdSnapshotFailed: ${seconds.toFixed(0)} s`)
    assert.ok((await toldInWords('tickets')).includes('tickets firing EtcdSnapshotFailed k3s-master-03'))
  } finally {
    await on('k3s-master-03', `rm ${folder} && mv ${folder}.before ${folder}`)
  }
})

test('what the settings and servers.tsv lack is told before anything is changed', async () => {
  const settings = await changed('nobody', "settings.monitoring.alerts = {}; settings.monitoring.ignore = ['db-slave-1']")
  await script('09_k3s_07_install_monitoring', '--plan', '--settings', settings).then(() => assert.unreachable(), (error: Error) => {
    assert.match(error.message, /ended with 64/)
    assert.match(error.message, /monitoring\.alerts\.tickets: expected somebody who gets messages/)
    assert.match(error.message, /monitoring\.ignore "db-slave-1": .*Did you mean db-slave-01\?/)
  })
})

test('a mail server that refuses the password is told by the test message', async () => {
  const settings = await changed('mail', `settings.backends.smtp = { host: 'alerts-01.lab.keybuzz.io', port: 2525, user: 'alerts', from: 'k3s@lab.keybuzz.io' }
settings.monitoring.alerts.tickets.email = 'ops@lab.keybuzz.io'`)
  const ask = async (password: string, ...flags: string[]) => {
    const { stdout, exitCode } = await bastion(['./09_k3s_07_install_monitoring.mts', '--yes', '--settings', settings, ...flags], { env: { KEYBUZZ_SMTP_PASSWORD: password } })
    return { exitCode, text: stdout }
  }
  const right = mailSecrets['KEYBUZZ_SMTP_PASSWORD']!
  try {
    assert.is((await ask('wrong')).exitCode, 0)
    const refused = await ask('wrong', '--send-test')
    assert.is(refused.exitCode, 1)
    assert.match(refused.text, /tickets by email: .*535/)
    assert.is((await ask(right)).exitCode, 0)
    const taken = await ask(right, '--send-test')
    assert.is(taken.exitCode, 0, taken.text)
  } finally {
    await bastion(['rm', '-f', '/root/.keybuzz/secrets/prod-smtp-password'])
  }
})

test('the cluster is as the scripts want it', async () => {
  console.log(`  ${took.join('; ')}`)
  await converge()
})

test.run()
