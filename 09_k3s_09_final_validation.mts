#!/usr/bin/env node
// 09_k3s_09  Final validation
//
// Is the whole cluster fit? It runs the checks of all scripts before it and its own (etcd, certificates, versions,
// capacity, security), changes nothing, and names the evidence of each. By itself, or as the last script of apply_all.
// With --drill it then takes the etcd leader, a worker, an ingress pod and a server's network away, one after the other
// under live traffic, puts each back, and tells how long anybody noticed. It asks before, and refuses a cluster that is
// not fit.
//
// Needs:   09_k3s_05.
// Changes: nothing that stays. Some checks make objects of their own and remove them: the Ingress canary and a Secret
//          in keybuzz-netcheck, the namespace keybuzz-volume-trial. --drill takes nodes away and puts them back.
// Undo:    nothing to undo.
// Example: ./09_k3s_09_final_validation.mts --html report.html

import { writeFile } from 'node:fs/promises'
import { input } from '@inquirer/prompts'
import { mebibytes, milliseconds } from './lib/base/words.mts'
import { prepare } from './09_k3s_01_prepare.mts'
import { installControlPlane } from './09_k3s_02_install_control_plane.mts'
import { joinWorkers } from './09_k3s_03_join_workers.mts'
import { bootstrapAddons } from './09_k3s_04_bootstrap_addons.mts'
import { installIngress } from './09_k3s_05_ingress_daemonset.mts'
import { artifacts } from './lib/reach/release.mts'
import { writeBundle } from './lib/validation/bundle.mts'
import { judgeRanges, judgeRoom, parseQuantity, type Room } from './lib/validation/capacity.mts'
import { drill, DrillFailed, renderDrill, type DrillRow, type Power } from './lib/drill/drill.mts'
import { UsageError } from './lib/base/errors.mts'
import { readEtcd, type EtcdState } from './lib/node/etcd.mts'
import { createHetzner } from './lib/reach/hetzner.mts'
import type { Run } from './lib/run/run.mts'
import { renderHtml } from './lib/validation/html.mts'
import { withCanary } from './lib/ingress/ingress.mts'
import type { Host } from './lib/input/inventory.mts'
import { createKubectl, getNodes, type Kubectl, type Node } from './lib/reach/kubectl.mts'
import { takeLock } from './lib/run/lock.mts'
import { get } from './lib/reach/http.mts'
import { remembered, until } from './lib/base/wait.mts'
import { operate, type Script, type Validated } from './lib/run/script.mts'
import { Secret } from './lib/input/secrets.mts'
import { clusterSteps, kubeletSteps, publicSide, serverSteps } from './lib/validation/security.mts'
import { contextOf, type Settings } from './lib/input/settings.mts'
import type { Step } from './lib/run/step.mts'

export const finalValidation: Script = {
  id: '09_k3s_09',
  title: 'Final validation',
  story: async (run) => {
    const { settings, hosts, servers } = run
    const { k3s } = await artifacts(settings, { dir: run.flags['artifacts'], signal: run.signal, say: run.note })
    const kubectl = createKubectl(k3s.file, contextOf(settings))
    const nodes = remembered(() => getNodes(kubectl))
    const etcd = new Map<string, EtcdState>()

    await run.on(servers, (host) => [
      hasSoundEtcd(host, settings, etcd),
      answersByItself(host, kubectl),
      ...serverSteps
    ])
    await run.once([
      leadsOnce(servers, etcd),
      hasCapacity(run, kubectl, async () => [...(await nodes.get()).values()]),
      runsAllPods(kubectl),
      ...clusterSteps(run, kubectl)
    ])
    await run.on(hosts, (host) => [
      isOfOneVersion(settings, async () => (await nodes.get()).get(host.name)),
      ...kubeletSteps(host),
      ...neighboursOf(host, run).map((neighbour) => publicSide(host, neighbour))
    ])
  }
}

// One that can try the host's public address from outside; none where it has no such address, or is alone: what a node
// sends to itself meets no firewall.
const neighboursOf = (host: Host, { hosts, stands }: Run): Host[] => {
  if (host.publicAddress === '') return []
  const others = hosts.filter((other) => other !== host && stands(other))
  const at = hosts.indexOf(host) % others.length
  return others.slice(at, at + 1)
}

type States = Map<string, EtcdState>

const hasSoundEtcd = (host: Host, { prepare: { etcd_fsync_p99: most } }: Settings, known: States): Step => ({
  name: 'has a sound etcd',
  check: async () => {
    const state = await readEtcd(host)
    known.set(host.name, state)
    const { size, quota, fsyncP99, leads, leaderChanges } = state
    const filled = `${mebibytes(size)} of ${mebibytes(quota)}`
    const fsyncs = `99 of 100 fsyncs within ${(fsyncP99 * 1000).toFixed(0)} ms`
    return [
      `= ${leads ? 'leads' : 'follows'}; ${filled}; ${fsyncs}; leader changes seen: ${leaderChanges}`,
      ...(state.healthy && state.hasLeader ? [] : ['is not healthy: it has no leader']),
      ...(state.isLearner ? ['is a learner still, and does not vote'] : []),
      ...(size > quota * 0.8 ? ['is almost full: at its quota the cluster turns read-only'] : []),
      // The buckets double, so the true value may be half of what is known.
      ...(fsyncP99 * 1000 > most * 2 ? [`its disk is slow: 99 of 100 fsyncs are to end within ${most} ms`] : [])
    ].join('\n')
  },
  hint: 'docs/when-it-is-down.md; journalctl -u k3s | grep etcd'
})

const leadsOnce = (servers: Host[], known: States): Step => ({
  name: `has ${servers.length} voters and one leader`,
  check: async () => {
    // --hosts may have left servers out that vote all the same.
    const states = await Promise.all(servers.map(async (host): Promise<[string, EtcdState | undefined]> =>
      [host.name, known.get(host.name) ?? (await readEtcd(host).catch(() => undefined))]
    ))
    const leaders = states.filter(([, state]) => state?.leads).map(([name]) => name)
    const voters = states.filter(([, state]) => state?.healthy && !state.isLearner).length
    return [
      `= ${leaders.join(', ') || 'nobody'} leads`,
      ...(leaders.length === 1 ? [] : [`${leaders.length} leaders`]),
      ...(voters === servers.length ? [] : [`${voters} of ${servers.length} vote`])
    ].join('\n')
  }
})

const answersByItself = ({ address }: Host, kubectl: Kubectl): Step => ({
  name: 'has an API that answers by itself',
  check: async () => {
    const began = performance.now()
    const answer = await kubectl(['get', '--raw', '/readyz', '--server', `https://${address}:6443`])
    return answer === 'ok' ? `= ready in ${milliseconds(performance.now() - began)} ms` : `/readyz says ${answer}`
  }
})

const hasCapacity = ({ hosts, settings }: Run, kubectl: Kubectl, read: () => Promise<Node[]>): Step => ({
  name: 'has the capacity that the settings ask for',
  check: async () => {
    const nodes = await read()
    const workers = nodes.filter(({ metadata }) =>
      hosts.some(({ name, role }) => name === metadata.name && role === 'agent'))
    const addresses = await kubectl(['get', 'services', '-A', '-o', 'jsonpath={.items[*].spec.clusterIP}'])
    const services = addresses.split(' ').filter((address) => address !== 'None').length
    return [...judgeRoom(workers.map(roomOf), settings), ...judgeRanges(nodes.length, services, settings)].join('\n')
  },
  hint: 'add a worker to servers.tsv and run apply_all; or correct capacity in the settings'
})

const roomOf = ({ metadata, status }: Node): Room => {
  const { pods = '0', cpu = '0', memory = '0' } = status.allocatable ?? {}
  const [gibibytes, name] = [parseQuantity(memory) / 2 ** 30, metadata.name]
  return { name, pods: parseQuantity(pods), cpus: parseQuantity(cpu), memory: gibibytes }
}

// A pod that has just been made is no fault, nor one that has ended; one that is not ready for minutes is.
const runsAllPods = (kubectl: Kubectl): Step => ({
  name: 'has no pod that cannot run',
  check: async () => {
    const fields = [
      '.metadata.namespace', '.metadata.name', '.status.phase', '.metadata.creationTimestamp',
      '.status.conditions[?(@.type=="Ready")].status', '.status.containerStatuses[*].state.waiting.reason'
    ]
    const columns = fields.map((field, index) => `C${index}:${field}`).join(',')
    const lines = (await kubectl(['get', 'pods', '-A', '--no-headers', '-o', `custom-columns=${columns}`])).trim().split('\n')
    const stuck = lines.map((line) => line.trim().split(/\s+/)).filter(([, , phase = '', since = '', ready = '']) =>
      Date.now() - Date.parse(since) > 300_000 && (phase === 'Pending' || (phase === 'Running' && ready === 'False'))
    )
    const words = stuck.map(([where, name, phase = '', , , reason]) =>
      `${where}/${name} is ${phase === 'Running' ? 'not ready' : phase}${reason === '<none>' ? '' : `, ${reason}`}`
    )
    const more = words.length > 20 ? [`and ${words.length - 20} more`] : []
    return [`= ${lines.length} pods`, ...words.slice(0, 20), ...more].join('\n')
  },
  hint: 'kubectl describe pod, and its events'
})

const isOfOneVersion = ({ k3s: { version } }: Settings, read: () => Promise<Node | undefined>): Step => ({
  name: 'runs the version of the settings',
  check: async () => {
    const info = (await read())?.status.nodeInfo
    const { kubeletVersion = 'nothing', containerRuntimeVersion, osImage, kernelVersion } = info ?? {}
    const evidence = `= ${kubeletVersion}, ${containerRuntimeVersion}, ${osImage}, kernel ${kernelVersion}`
    return kubeletVersion === version ? evidence : `${evidence}\nruns ${kubeletVersion}, the settings say ${version}`
  },
  hint: '09_k3s_02 rolls servers, 09_k3s_03 workers'
})

const all = [prepare, installControlPlane, joinWorkers, bootstrapAddons, installIngress, finalValidation]

// ---- Then, where asked for: the drill, the page, the bundle ----

const kubectlOf = async ({ settings, flags, signal, note }: Run): Promise<Kubectl> => {
  const { k3s } = await artifacts(settings, { dir: flags['artifacts'], signal, say: note })
  return createKubectl(k3s.file, contextOf(settings))
}

const powerOf = ({ signal, note }: Run): Power | undefined => {
  const token = process.env['HCLOUD_TOKEN']?.trim()
  if (!token) return undefined
  const taking = createHetzner(new Secret(token), { signal, say: note })
  const giving = createHetzner(new Secret(token), { say: note }) // ctrl-C must not keep a server off
  return {
    off: async ({ address }) => taking.powerOff(await taking.serverAt(address)),
    on: async ({ address }) => giving.powerOn(await giving.serverAt(address))
  }
}

// Asked for before anything is looked at, which takes a minute.
const needTerminal = (): void => {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UsageError([{
      file: 'command line', what: '--drill',
      expected: 'a terminal, for it must be confirmed', remedy: 'Run it at a terminal.'
    }])
  }
}

const confirmed = async (power: Power | undefined): Promise<void> => {
  const how = power ? 'switched off at Hetzner' : 'cut off'
  await input({
    message: `Servers and a worker will be ${how}, one after the other, and given back. Type "drill":`,
    validate: (answer) => answer === 'drill' || 'Type drill, or press ctrl-C.'
  }, { output: process.stderr })
}

const holdDrill = async (run: Run, kubectl: Kubectl): Promise<{ rows: DrillRow[]; fault: string }> => {
  const power = powerOf(run)
  await confirmed(power)
  const release = await takeLock(run.servers, { script: '09_final_validation --drill', force: false })
  try {
    return await withCanary({ kubectl, signal: run.signal, name: 'drill' }, async (canaryHost) => {
      const balancers = run.settings.load_balancers.http
      await until(async () => {
        const asking = balancers.map((address) => get(address, { host: canaryHost, path: '/name' }))
        const answers = await Promise.all(asking)
        return answers.every(({ status }) => status === 200) ? '' : 'the canary is not answered yet'
      }, { seconds: 60, signal: run.signal })
      return { rows: await drill(run, { kubectl, canaryHost, power }), fault: '' }
    })
  } catch (error) {
    if (error instanceof DrillFailed) return { rows: error.rows, fault: error.message }
    throw error
  } finally {
    await release().catch(() => run.note('The lock could not be given back; the next run on this bastion takes it over.'))
  }
}

const goOn = async ({ run, sections, exitCode, seconds, say }: Validated) => {
  const { flags: { html, bundle, drill: wanted }, settings: { environment } } = run
  if (html === undefined && bundle === undefined && wanted === undefined) return { exitCode }
  const kubectl = await kubectlOf(run)
  const drilled = wanted !== undefined && exitCode === 0 ? await holdDrill(run, kubectl) : undefined
  if (wanted !== undefined && exitCode !== 0) say('No drill: not everything holds, and a drill would make that worse.')
  for (const line of drilled ? renderDrill(drilled.rows) : []) say(line)
  if (drilled?.fault) say(drilled.fault)
  const code = drilled?.fault ? 1 : exitCode
  const page = renderHtml({
    title: finalValidation.title, environment, date: new Date(), exitCode: code, seconds, sections,
    versions: { K3s: run.settings.k3s.version, Ingress: run.settings.ingress.image },
    ...(drilled ? { drill: drilled.rows } : {})
  })
  if (html !== undefined) {
    await writeFile(html, page, { mode: 0o600 })
    say(`The report is ${html}`)
  }
  if (bundle !== undefined) {
    for (const lack of await writeBundle(run, { file: bundle, kubectl, report: page })) say(`not in the bundle: ${lack}`)
    say(`The bundle is ${bundle}`)
  }
  return { exitCode: code, ...(drilled ? { drill: drilled.rows } : {}) }
}

if (import.meta.main) {
  await operate(all, import.meta.filename, {
    mode: 'validate',
    choose: ({ drill: wanted }) => {
      if (wanted !== undefined) needTerminal()
      return all
    },
    after: goOn,
    flags: {
      html: '--html FILE        the report as one page for a browser',
      bundle: '--bundle FILE      what a supporter would ask for, as FILE.tar.gz; without secrets',
      drill: '--drill            take servers and a worker away under live traffic, and measure; must be confirmed'
    }
  })
}
