#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
// 09_k3s_test_healthcheck  Test the load balancers' health check
//
// Does by hand what Hetzner's load balancers do: asks every node from the bastion, along its private address, exactly as
// ingress.health_check of settings.yaml says. 200 is well. Where a node answers otherwise it finds out why.
// With a token for Hetzner's API (in HCLOUD_TOKEN, a file, or asked for with --hetzner) it also compares how the load
// balancers are configured, and what they see.
// With --prove it puts one node, for some seconds each, into the states that the check is there for: draining, nginx
// stopped, the controller hanging, an application down. Requests to that node wait then, so it asks first. Meanwhile
// it holds the lock. The node mends itself, also after ctrl-C and when the bastion is lost.
//
// Needs:   09_k3s_05.
// Changes: nothing. With --prove: /tmp/drain in the node's ingress pod, signals STOP and CONT to nginx and its controller,
//          an Ingress and a Service keybuzz-netcheck/no-endpoints; all are taken back.
// Undo:    nothing to undo.
// Example: ./09_k3s_test_healthcheck.mts --watch

import { UsageError } from './lib/base/errors.mts'
import { balancerSteps, compareTarget, ownBalancers } from './lib/ingress/balancers.mts'
import { causeOf } from './lib/ingress/causes.mts'
import {
  checkInWords, checkOf, checksByHand, makeChecks, passes, timesInWords, windowOf, type Check
} from './lib/ingress/check.mts'
import { drains, isStopped, staysHealthy, turnsUnhealthy } from './lib/ingress/proofs.mts'
import { watch } from './lib/ingress/watch.mts'
import type { Host } from './lib/input/inventory.mts'
import { givenSecret } from './lib/input/secrets.mts'
import { createHetzner, HetznerError } from './lib/reach/hetzner.mts'
import type { LoadBalancer } from './lib/reach/hetzner-schema.mts'
import { needTerminal, typed } from './lib/run/confirm.mts'
import { flag, misuse, value } from './lib/run/flags.mts'
import { withLock } from './lib/run/lock.mts'
import type { Run } from './lib/run/run.mts'
import { operate, script } from './lib/run/script.mts'
import type { NodeStep } from './lib/run/step.mts'

export const testHealthcheck = script({
  id: '09_k3s_test_healthcheck',
  title: "Test the load balancers' health check",
  file: import.meta.filename,
  flags: {
    watch: flag('ask on and on and show a table, until ctrl-C'),
    prove: value('NODE', 'prove on this node what the check detects; must be confirmed at a terminal'),
    hetzner: flag('compare with what Hetzner says; asks for the token where HCLOUD_TOKEN is not set'),
    'hcloud-token-file': value('FILE', 'a file that holds the token for Hetzner')
  },
  story: async (run, flags) => {
    const { settings, chosen, signal } = run
    const check = checkOf(settings)
    const asksNobody = run.mode === 'runbook'
    if (flags.watch && !asksNobody) return watch(chosen, check, { signal, say: run.note })
    const proven = nodeToProve(run, flags.prove)
    if (proven && !asksNobody) needTerminal('--prove')
    const wantsBalancers = flags.hetzner || flags['hcloud-token-file'] !== undefined || process.env[tokenVariable]
    const balancers = wantsBalancers && !asksNobody ? await readBalancers(run, flags['hcloud-token-file']) : undefined
    const passed = new Set<string>()

    run.note(checkInWords(check))
    await run.on(chosen, (host) => [
      answersTheCheck(run, host, check, passed),
      ...(balancers ? [isSeenAlike(host, balancers, check, passed)] : [])
    ])
    if (!proven || !run.stands(proven)) return
    await run.on([proven], () => [isNotAlone(chosen.filter((host) => host !== proven), check, passed)])
    if (!run.stands(proven)) return
    const prove = () => run.on([proven], async (host) => [
      turnsUnhealthy(run, host, check, { what: 'it drains', state: drains, serves: true }),
      turnsUnhealthy(run, host, check, { what: 'nginx is stopped', state: isStopped(80), serves: false }),
      turnsUnhealthy(run, host, check, { what: 'its controller hangs', state: isStopped(8081), serves: true }),
      await staysHealthy(run, host, check)
    ])
    if (asksNobody) return prove()
    await typed(proven.name, `Requests to ${proven.name} will wait for some seconds while its nginx is stopped.`)
    // An update takes nginx away from one node at a time, and counts on all the others.
    await withLock(run, { script: 'test_healthcheck --prove' }, prove)
  }
})

const answersTheCheck = (run: Run, host: Host, check: Check, passed: Set<string>): NodeStep => ({
  name: 'answers the health check',
  check: async () => {
    const answers = await makeChecks(host.address, check, { signal: run.signal })
    const failing = answers.filter((answer) => !passes(answer))
    const [answer] = failing
    if (!answer) {
      passed.add(host.name)
      const { out, back } = windowOf(check)
      return `= ${timesInWords(answers)}; a failure is noticed within ${out} s, the recovery within ${back} s`
    }
    // The API and ssh are asked only where a node fails: the check can be tested while they are down.
    const { words, hint } = await causeOf(run, host, check, answer)
    const some = failing.length < answers.length ? `${failing.length} of ${answers.length} failed: ` : ''
    return `${some}${words}\nHint: ${hint}`
  },
  look: checksByHand(run.chosen.map(({ address }) => address), check)
})

// ---- With a token: what the load balancers themselves say ----

const tokenVariable = 'HCLOUD_TOKEN'

const readBalancers = async (run: Run, file: string | undefined): Promise<LoadBalancer[] | undefined> => {
  const { settings, hosts, signal, note } = run
  const token = await givenSecret("token for Hetzner's API", { flag: '--hcloud-token-file', file, variable: tokenVariable })
  try {
    const found = await createHetzner(token, { signal, say: note }).loadBalancers()
    await run.once(balancerSteps(found, settings, hosts))
    return ownBalancers(found, settings.load_balancers.http).own
  } catch (error) {
    if (!(error instanceof HetznerError)) throw error
    await run.once([{ name: "can ask Hetzner's API", check: () => Promise.reject(error), look: 'hcloud load-balancer list' }])
    return undefined
  }
}

const isSeenAlike = (host: Host, balancers: LoadBalancer[], check: Check, passed: Set<string>): NodeStep => ({
  name: 'is seen by the load balancers as from here',
  check: async () => {
    const { differs, evidence } = compareTarget(host, balancers, passed.has(host.name), windowOf(check))
    return [...differs, ...evidence.map((line) => `= ${line}`)].join('\n')
  },
  look: balancers.map(({ name }) => `hcloud load-balancer describe ${name}`).join('\n')
})

// ---- With --prove: what the check detects ----

const nodeToProve = ({ chosen }: Run, name: string | undefined): Host | undefined => {
  if (name === undefined) return undefined
  const host = chosen.find((one) => one.name === name)
  if (host) return host
  const names = chosen.map((one) => one.name).join(', ')
  throw new UsageError([misuse('--prove', `one of ${names}`, 'Name the node to try it on.', name)])
}

const isNotAlone = (others: Host[], check: Check, passed: Set<string>): NodeStep => ({
  name: 'is not the only node that answers',
  check: async () => (passed.size > 1 ? '' : 'no other node would take the traffic: it is not touched'),
  look: `# One of these must be answered 200.\n${checksByHand(others.map(({ address }) => address), check)}`
})

if (import.meta.main) await operate([testHealthcheck], import.meta.filename, { mode: 'validate' })
