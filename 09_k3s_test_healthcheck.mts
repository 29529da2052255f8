#!/usr/bin/env node
// 09_k3s_test_healthcheck  Test the load balancers' health check
//
// What Hetzner's load balancers do, done by hand: asks every node from the bastion, along its private address, exactly
// as ingress.health_check of settings.yaml says. 200 is well; where a node answers otherwise it finds out why.
// With a token for Hetzner's API (in HCLOUD_TOKEN, a file, or asked for with --hetzner) it compares how the load
// balancers are configured, and what they see, with that.
// With --prove it puts one node, for some seconds each, into the states that the check is there for: draining, nginx
// stopped, the controller hanging, an application down. Then requests to that node wait, so it asks first; and whatever
// ends it, ctrl-C or a lost bastion, the node mends itself.
//
// Needs:   09_k3s_05.
// Changes: nothing. With --prove: /tmp/drain in the node's ingress pod, signals STOP and CONT to nginx and its controller,
//          an Ingress and a Service keybuzz-netcheck/no-endpoints; all are taken back.
// Example: ./09_k3s_test_healthcheck.mts --watch

import { setTimeout as sleep } from 'node:timers/promises'
import { input } from '@inquirer/prompts'
import { contextOf } from './lib/input/settings.mts'
import { artifacts } from './lib/reach/release.mts'
import { isAbort, messageOf, UsageError } from './lib/base/errors.mts'
import { balancerSteps, compareTarget, ownBalancers } from './lib/ingress/balancers.mts'
import { explain, parseNode, parsePod, type NodeState, type PodState } from './lib/ingress/causes.mts'
import { watch } from './lib/ingress/watch.mts'
import {
  checkInWords, checkOf, inShort, passes, probe, probes, timesInWords, untilVerdict, windowOf, type Check
} from './lib/ingress/check.mts'
import { createHetzner, HetznerError, type LoadBalancer } from './lib/reach/hetzner.mts'
import { whileHeld, type Fault } from './lib/node/hold.mts'
import type { Run } from './lib/run/run.mts'
import type { Host } from './lib/input/inventory.mts'
import { createKubectl, type Kubectl } from './lib/reach/kubectl.mts'
import { get, type Answer } from './lib/reach/http.mts'
import { operate, type Script } from './lib/run/script.mts'
import { givenSecret } from './lib/input/secrets.mts'
import { capture, Unreachable } from './lib/reach/ssh.mts'
import type { Step } from './lib/run/step.mts'

export const testHealthcheck: Script = {
  id: '09_k3s_test_healthcheck',
  title: "Test the load balancers' health check",
  flags: {
    watch: '--watch            ask on and on and show a table, until ctrl-C',
    prove: '--prove NODE       prove on this node what the check detects; must be confirmed at a terminal',
    hetzner: '--hetzner          compare with what Hetzner says; asks for the token where HCLOUD_TOKEN is not set',
    'token-file': '--token-file FILE  a file that holds the token for Hetzner',
    artifacts: '--artifacts DIR    a folder that holds the files of the K3s release already'
  },
  story: async (run) => {
    const { settings, chosen, flags, signal } = run
    const check = checkOf(settings)
    if (flags['watch'] !== undefined) return watch(chosen, check, { signal, say: run.note })
    const proven = nodeToProve(run)
    const kubectl = lazyKubectl(run)
    const balancers = await readBalancers(run)
    const passed = new Set<string>()

    run.note(checkInWords(check))
    await run.on(chosen, (host) => [
      answersTheCheck(host, check, { kubectl, passed, signal }),
      ...(balancers ? [isSeenAlike(host, balancers, check, passed)] : [])
    ])
    if (proven === undefined || !run.stands(proven)) return
    await run.on([proven], () => [{
      name: 'is not the only node that answers',
      check: async () => (passed.size > 1 ? '' : 'no other node would take the traffic: it is not touched')
    }])
    if (!run.stands(proven)) return
    await sure(proven)
    await run.on([proven], (host) => [
      turnsUnhealthy(host, 'it drains', drains, { check, signal, serves: true }),
      turnsUnhealthy(host, 'nginx is stopped', isStopped(80), { check, signal, serves: false }),
      turnsUnhealthy(host, 'its controller hangs', isStopped(8081), { check, signal, serves: true }),
      staysHealthy(host, check, signal, kubectl)
    ])
  }
}

type Found = { kubectl: Kubectl; passed: Set<string>; signal: AbortSignal }

const answersTheCheck = (host: Host, check: Check, { kubectl, passed, signal }: Found): Step => ({
  name: 'answers the health check',
  check: async () => {
    const answers = await probes(host.address, check, { signal })
    const failing = answers.filter((answer) => !passes(answer))
    const [answer] = failing
    if (!answer) {
      passed.add(host.name)
      const { out, back } = windowOf(check)
      return `= ${timesInWords(answers)}; a failure is noticed within ${out} s, the recovery within ${back} s`
    }
    const { words, hint } = await why(host, check, kubectl, answer)
    const some = failing.length < answers.length ? `${failing.length} of ${answers.length} failed: ` : ''
    return `${some}${words}\nHint: ${hint}`
  }
})

const why = async (host: Host, check: Check, kubectl: Kubectl, answer: Answer): Promise<ReturnType<typeof explain>> => {
  const [node, pod, otherWay] = await Promise.all([
    stateOf(host, check),
    podOf(host, kubectl),
    probe(host.address, { ...check, proxyProtocol: !check.proxyProtocol })
  ])
  return explain({ answer, otherWay, proxyProtocol: check.proxyProtocol, path: check.path, node, pod })
}

// Who has port 80, whether nginx drains, what the controller says of its configuration, and what the check answers from
// here: what cannot be seen from outside.
const stateOf = async (host: Host, check: Check): Promise<NodeState | undefined> => {
  const proxy = check.proxyProtocol ? `PROXY TCP4 ${host.address} ${host.address} 1024 80\\r\\n` : ''
  const header = check.host === '' ? ' HTTP/1.0\\r\\n' : ` HTTP/1.1\\r\\nHost: ${check.host}\\r\\nConnection: close\\r\\n`
  const script = `
ss -Hltnp 'sport = :80' | { grep -o '"[^"]*",pid=[0-9]*' || true; } | sort -u | while IFS=, read -r name pid; do
  name=\${name//[\\" ]/}; pid=\${pid#pid=}
  place=host
  if grep -q kubepods /proc/$pid/cgroup; then place=pod; fi
  echo "listener $name $pid $place $(awk '/^State:/ {print $2}' /proc/$pid/status)"
  if [[ $place == pod && -e /proc/$pid/root/tmp/drain ]]; then echo drains; fi
done
ask() { timeout 3 bash -c 'exec 3<>/dev/tcp/$0/$1; printf "$2" >&3; head -n 1 <&3' "$@" 2>&1 | tail -n 1; }
echo "ready $(ask 127.0.0.1 8081 'GET /nginx-ready HTTP/1.0\\r\\n\\r\\n')"
echo "inside $(ask ${host.address} 80 '${proxy}GET ${check.path}${header}\\r\\n')"`
  try {
    return parseNode(await capture(host, script))
  } catch (error) {
    if (error instanceof Unreachable) return undefined
    throw error
  }
}

const podOf = async (host: Host, kubectl: Kubectl): Promise<PodState | undefined | string> => {
  const selection = ['-l', 'app=nginx-ingress', '--field-selector', `spec.nodeName=${host.name}`]
  try {
    return parsePod(await kubectl(['-n', 'nginx-ingress', 'get', 'pods', ...selection, '-o', 'json']))
  } catch (error) {
    if (isAbort(error)) throw error
    return messageOf(error)
  }
}

// The cluster's API is asked only where a node fails, so that the check can be tested while it is down.
const lazyKubectl = ({ settings, flags, signal, note }: Run): Kubectl => {
  let kubectl: Promise<Kubectl> | undefined
  return async (args, text) => {
    kubectl ??= artifacts(settings, { dir: flags['artifacts'], signal, say: note })
      .then(({ k3s }) => createKubectl(k3s.file, contextOf(settings)))
    return (await kubectl)(args, text)
  }
}

// ---- With a token: what the load balancers themselves say ----

const readBalancers = async (run: Run): Promise<LoadBalancer[] | undefined> => {
  const { flags, settings, signal, note } = run
  const variable = 'HCLOUD_TOKEN'
  if (flags['hetzner'] === undefined && flags['token-file'] === undefined && !process.env[variable]) return undefined
  const token = await givenSecret("token for Hetzner's API", { flag: '--token-file', file: flags['token-file'], variable })
  try {
    const found = await createHetzner(token, { signal, say: note }).loadBalancers()
    await run.once(balancerSteps(found, settings, run.hosts))
    return ownBalancers(found, settings.load_balancers.http).own
  } catch (error) {
    if (!(error instanceof HetznerError)) throw error
    await run.once([{ name: "can ask Hetzner's API", check: () => Promise.reject(error) }])
    return undefined
  }
}

const isSeenAlike = (host: Host, balancers: LoadBalancer[], check: Check, passed: Set<string>): Step => ({
  name: 'is seen by the load balancers as from here',
  check: async () => {
    const { differs, evidence } = compareTarget(host, balancers, passed.has(host.name), windowOf(check))
    return [...differs, ...evidence.map((line) => `= ${line}`)].join('\n')
  }
})

// ---- With --prove: what the check detects ----

const nodeToProve = ({ flags, chosen }: Run): Host | undefined => {
  const name = flags['prove']
  if (name === undefined) return undefined
  const host = chosen.find((one) => one.name === name)
  const names = chosen.map((one) => one.name).join(', ')
  if (!host) throw usage('--prove', `one of ${names}`, 'Name the node to try it on.', name)
  if (process.stdin.isTTY && process.stderr.isTTY) return host
  throw usage('--prove', 'a terminal, for it must be confirmed', 'Run it at a terminal.')
}

const usage = (what: string, expected: string, remedy: string, value?: string): UsageError =>
  new UsageError([{ file: 'command line', what, expected, remedy, ...(value === undefined ? {} : { value }) }])

const sure = async ({ name }: Host): Promise<void> => {
  await input(
    {
      message: `Requests to ${name} will wait for some seconds while its nginx is stopped. Type its name to go on:`,
      validate: (answer) => answer === name || `Type ${name}, or press ctrl-C.`
    },
    { output: process.stderr }
  )
}

const listenersOn = (port: number): string => `$(ss -Hltnp 'sport = :${port}' | grep -o 'pid=[0-9]*' | cut -d = -f 2 | sort -u)`

const faultOf = (port: number, begin: string, mend: string): Fault => ({
  begin: `pids=${listenersOn(port)} || { echo 'nothing listens on ${port}' >&2; exit 1; }\nfor pid in $pids; do ${begin}; done`,
  mend: `for pid in ${listenersOn(port)}; do ${mend}; done`
})

const drains = faultOf(80, 'touch /proc/$pid/root/tmp/drain', 'rm -f /proc/$pid/root/tmp/drain')

// A stopped process keeps its port and answers nothing, as one that hangs; and it goes on as if nothing had been.
const isStopped = (port: 80 | 8081): Fault => faultOf(port, 'kill -STOP $pid', 'kill -CONT $pid')

type Trial = {
  check: Check
  signal: AbortSignal
  /** Other requests must still be answered meanwhile. */
  serves: boolean
}

const turnsUnhealthy = (host: Host, what: string, fault: Fault, { check, signal, serves }: Trial): Step => ({
  name: `is unhealthy while ${what}`,
  trial: true,
  check: async () => {
    if (!(await untilVerdict(host.address, check, true, { seconds: 10, signal }))) {
      return `is not healthy to begin with: ${inShort(await probe(host.address, check))}`
    }
    const seconds = 20 + 2 * check.timeout
    let freed = 0
    const { out, other } = await whileHeld(host, fault, { seconds: seconds + 10, signal }, async () => {
      const seen = await untilVerdict(host.address, check, false, { seconds, signal })
      const meanwhile = seen && serves ? await otherRequest(host, check) : undefined
      freed = performance.now()
      return { out: seen, other: meanwhile }
    })
    const mending = (performance.now() - freed) / 1000
    const back = await untilVerdict(host.address, check, true, { seconds: 60, signal })
    if (!out) return `the check still answered 200 after ${seconds} s`
    const seen = `${inShort(out.answer)} after ${out.seconds.toFixed(1)} s`
    if (!back) return `${seen}, and not healthy again 60 s after it was mended`
    if (other?.error !== undefined) return `${seen}, and other requests meanwhile: ${other.error}`
    const served = other ? `; other requests were answered meanwhile (${inShort(other)})` : ''
    return `= ${seen}, 200 again ${(mending + back.seconds).toFixed(1)} s after${served}`
  }
})

// Nothing has this name: the default server answers, as it does to any request that no Ingress is for.
const otherRequest = (host: Host, { proxyProtocol }: Check): Promise<Answer> =>
  get(host.address, { host: 'nothing.keybuzz.internal', proxyProtocol, timeout: 5000 })

const name = 'no-endpoints.keybuzz.internal'

// An application none of whose pods is ready looks like this to nginx.
const application = `
apiVersion: v1
kind: Service
metadata: {name: no-endpoints, namespace: keybuzz-netcheck}
spec:
  ports: [{port: 80}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: no-endpoints, namespace: keybuzz-netcheck}
spec:
  ingressClassName: nginx
  rules:
    - host: ${name}
      http:
        paths: [{path: /, pathType: Prefix, backend: {service: {name: no-endpoints, port: {number: 80}}}}]
`

const staysHealthy = (host: Host, check: Check, signal: AbortSignal, kubectl: Kubectl): Step => ({
  name: 'is healthy while an application is down',
  trial: true,
  check: async () => {
    try {
      await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], application)
      let answer = await applicationAt(host, check)
      for (const end = Date.now() + 30_000; (answer.status ?? 0) < 500 && Date.now() < end;) {
        await sleep(500, undefined, { signal })
        answer = await applicationAt(host, check)
      }
      if ((answer.status ?? 0) < 500) return `the application answers ${inShort(answer)} after 30 s, expected 502 or 503`
      const failing = (await probes(host.address, check, { signal })).filter((one) => !passes(one))
      if (failing[0]) return `the application answers ${inShort(answer)}, and the check ${inShort(failing[0])}`
      return `= the application answers ${inShort(answer)}, the check 200`
    } finally {
      await kubectl(['delete', '--ignore-not-found', '--wait=false', '-f', '-'], application)
    }
  }
})

const applicationAt = (host: Host, { proxyProtocol }: Check): Promise<Answer> =>
  get(host.address, { host: name, proxyProtocol, timeout: 5000 })

if (import.meta.main) await operate([testHealthcheck], import.meta.filename, { mode: 'validate' })
