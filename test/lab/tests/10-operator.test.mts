// What an operator's machine brings along changes nothing: the bastion gets an odd environment, ~/.kube/kuberc and
// ~/.ssh/config. It can be run alone, on the cluster that the scripts have made.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import * as assert from 'uvu/assert'
import { bastion, bastionStart, exec, labUp } from '../nodes.mts'
import { converge, kubectl, script, until } from './cluster.mts'
import { test } from './timed.mts'

await labUp()
await converge('--to', '03')

// Nobody listens at the proxy. "true" as the program for diffs says that nothing ever differs (kubernetes/kubectl#1173).
const proxy = 'http://127.0.0.1:9'
const env = {
  KUBECTL_EXTERNAL_DIFF: 'true', KUBECONFIG: '/nowhere', KUBERNETES_MASTER: 'http://127.0.0.1:9', HTTPS_PROXY: proxy, https_proxy: proxy,
  HTTP_PROXY: proxy, TAR_OPTIONS: '--nowhere', LANG: 'fr_FR.UTF-8', NODE_OPTIONS: '--require /nowhere', ZX_PREFIX: 'false;'
}

const kuberc = `apiVersion: kubectl.config.k8s.io/v1beta1
kind: Preference
defaults:
- command: delete
  options: [{name: interactive, default: "true"}]
- command: apply
  options: [{name: dry-run, default: client}]
`
const config = `Host *
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  PermitLocalCommand yes
  LocalCommand echo local
  RemoteCommand uptime
  RequestTTY force
  LocalForward 2222 127.0.0.1:22
  LogLevel QUIET
`
const files = { '.kube/kuberc': kuberc, '.ssh/config': config }

const clear = (): Promise<unknown> =>
  exec('bastion', `cd; for file in ${Object.keys(files).join(' ')}; do rm -f $file; if [[ -f $file.aside ]]; then mv $file.aside $file; fi; done`)

test('with an odd environment, kuberc and ssh configuration the scripts see and do the same', async () => {
  await kubectl('delete', 'priorityclass', 'keybuzz-core') // before kuberc is there, which would make it ask
  for (const [file, input] of Object.entries(files)) {
    await exec('bastion', `cd; mkdir -p -m 0700 $(dirname ${file}); if [[ -f ${file} ]]; then mv ${file} ${file}.aside; fi; cat > ${file}`, { input })
  }
  try {
    const plan = await bastion(['./09_k3s_04_bootstrap_addons.mts', '--plan'], { env })
    assert.is(plan.exitCode, 2, plan.stdout + plan.stderr)
    assert.match(plan.stdout, /~ has the priority classes: missing or different: PriorityClass keybuzz-core/)
    const apply = await bastion(['./09_k3s_04_bootstrap_addons.mts', '--yes'], { env })
    assert.is(apply.exitCode, 0, apply.stdout + apply.stderr)
    assert.is(await kubectl('get', 'priorityclass', 'keybuzz-core', '-o', 'name'), 'priorityclass.scheduling.k8s.io/keybuzz-core')
    const again = await bastion(['./09_k3s_04_bootstrap_addons.mts', '--plan'], { env })
    assert.is(again.exitCode, 0, again.stdout + again.stderr)
  } finally {
    await clear()
  }
})

test('a host key that has changed is not accepted, whatever the ssh configuration says', async () => {
  // Another node's key for the worker's address.
  const mixed = `sed -n 's/^10.0.0.111,[^ ]* /10.0.0.110 /p' /etc/ssh/ssh_known_hosts`
  await exec('bastion', `cd; if [[ -f .ssh/config ]]; then mv .ssh/config .ssh/config.aside; fi
${mixed} > .ssh/mixed
printf '%s\\n' 'Host *' '  StrictHostKeyChecking no' '  GlobalKnownHostsFile ~/.ssh/mixed' '  UserKnownHostsFile ~/.ssh/mixed' > .ssh/config
for socket in ~/.keybuzz/ssh/*; do ssh -F none -O exit -o ControlPath=$socket node 2>/dev/null; done; true`)
  try {
    const { exitCode, stdout } = await bastion(['./09_k3s_01_prepare.mts', '--plan', '--hosts', 'k3s-worker-01'])
    assert.is(exitCode, 1)
    assert.match(stdout, /✗ answers over ssh: .*Host key verification failed\. {2}Hint: compare the key: /)
  } finally {
    await clear()
    await exec('bastion', 'rm -f ~/.ssh/mixed')
  }
})

test('npm run lab -- shell finds node and the scripts', async () => {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../lab.mts'), 'shell'], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end('node --version && ./09_k3s_01_prepare.mts --help | head -n 1\n')
  const [said] = await Promise.all([text(child.stdout), once(child, 'close')])
  assert.match(said, /^v\d+\.\d+\.\d+\n09_k3s_01 {2}Prepare the nodes\n$/)
})

test('a run under nohup goes on when the terminal closes', async () => {
  const logs = async (): Promise<number> => Number((await exec('bastion', 'ls ~/.keybuzz/logs | grep -c 01_prepare')).stdout)
  const before = await logs()
  const running = await bastionStart(['nohup', './09_k3s_01_prepare.mts', '--plan', '--json'])
  const pids = async (): Promise<string> => (await exec('bastion', `pgrep -f '^node ./09_k3s_01_prepare.mts'`)).stdout.trim()
  await until('the run began', 30, async () => (await logs()) > before)
  await exec('bastion', `kill -HUP ${(await pids()).replaceAll('\n', ' ')}`)
  const { exitCode, stdout, stderr } = await running.done
  assert.is(exitCode, 0, stderr)
  assert.is(JSON.parse(stdout).exitCode, 0)
})

test('the scripts need no login: sudo and cron get one line, and exit code 64', async () => {
  const { exitCode, stdout, stderr } = await bastion(['env', '-i', 'PATH=/usr/bin:/bin', 'HOME=/root', './09_k3s_01_prepare.mts', '--plan'])
  assert.equal([exitCode, stdout], [64, ''])
  assert.match(stderr, /^Node 24\.2 or later is needed, PATH has none\. Run: export PATH=\/opt\/keybuzz\/node_modules\/\.bin:\$PATH\n$/)
  assert.is((await script('09_k3s_01_prepare', '--plan')).exitCode, 0)
})

test("a connection that is left open at the lab's resolver keeps nobody waiting", async () => {
  const { exitCode, stderr } = await exec('bastion', 'exec 3<>/dev/tcp/10.0.0.53/53; timeout 4 getent hosts lab.keybuzz.io')
  assert.is(exitCode, 0, stderr)
})

test.run()
