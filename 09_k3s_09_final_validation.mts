#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
// 09_k3s_09  Final validation
//
// Is the whole cluster fit? It runs the checks of all scripts before it and its own (etcd, certificates, versions,
// capacity, security), changes nothing, and names the evidence of each. It runs alone, or as the last script of
// apply_all. With --drill it then takes the etcd leader, a worker, an ingress pod, a server's network and Vault away, one after
// the other under live traffic, puts each back, and measures how long users would notice. It asks before, and refuses a
// cluster that is not fit.
//
// Needs:   09_k3s_08.
// Changes: nothing that stays. Some checks make objects of their own and remove them: the Ingress canary and a Secret
//          in keybuzz-netcheck, the namespace keybuzz-volume-trial. --drill takes nodes away and puts them back.
// Undo:    nothing to undo.
// Example: ./09_k3s_09_final_validation.mts --html report.html

import { writeFile } from 'node:fs/promises'
import { remembered, until } from './lib/base/wait.mts'
import { milliseconds } from './lib/base/words.mts'
import { getNodes, type Nodes } from './lib/cluster/nodes.mts'
import { drill, DrillFailed } from './lib/drill/drill.mts'
import type { DrillRow } from './lib/drill/away.mts'
import { hetznerPower } from './lib/drill/power.mts'
import { drillTable, renderDrill } from './lib/drill/table.mts'
import { withCanary } from './lib/ingress/ingress.mts'
import type { Host } from './lib/input/inventory.mts'
import type { Settings } from './lib/input/settings.mts'
import { get } from './lib/reach/http.mts'
import { needTerminal, typed } from './lib/run/confirm.mts'
import { flag, output } from './lib/run/flags.mts'
import { withLock } from './lib/run/lock.mts'
import type { Run } from './lib/run/run.mts'
import { operate, script, type Validated } from './lib/run/script.mts'
import type { NodeStep } from './lib/run/step.mts'
import { writeBundle } from './lib/validation/bundle.mts'
import { hasCapacity } from './lib/validation/capacity.mts'
import { hasOneLeader, hasSoundEtcd, type EtcdStates } from './lib/validation/etcd.mts'
import { renderHtml } from './lib/validation/html.mts'
import { asksForName, encryptsSecrets, isClosedOutside, kubeletSteps, serverSteps } from './lib/validation/security.mts'
import { hasNoStuckPod } from './lib/validation/stuck-pods.mts'
import { scripts } from './scripts.mts'

export const finalValidation = script({
  id: '09_k3s_09',
  title: 'Final validation',
  file: import.meta.filename,
  story: async (run) => {
    const { settings, hosts, servers, kubectl } = run
    const nodes = remembered(() => getNodes(kubectl))
    const etcds: EtcdStates = new Map()

    await run.on(servers, (host) => [
      hasSoundEtcd(host, run, etcds),
      answersByItself(host, run),
      ...serverSteps
    ])
    await run.once([
      hasOneLeader(run, etcds),
      hasCapacity(run, nodes),
      hasNoStuckPod(kubectl),
      asksForName(run),
      encryptsSecrets(run)
    ])
    await run.on(hosts, (host) => [
      runsVersion(host, settings, nodes),
      ...kubeletSteps(host),
      ...isClosedOutside(host, run)
    ])
  }
})

const answersByItself = ({ address }: Host, { servers, kubectl }: Run): NodeStep => ({
  name: 'has an API that answers by itself',
  check: async () => {
    const began = performance.now()
    const answer = await kubectl({ server: `https://${address}:6443`, request: 5 })`get --raw /readyz`
    return answer === 'ok' ? `= ready in ${milliseconds(performance.now() - began)} ms` : `/readyz says ${answer}`
  },
  look: `for server in ${servers.map((server) => server.address).join(' ')}; do
  kubectl --server https://$server:6443 get --raw /readyz && echo " $server"     # ok
done`
})

const runsVersion = ({ name }: Host, { k3s: { version } }: Settings, nodes: Nodes): NodeStep => ({
  name: 'runs the version of the settings',
  check: async () => {
    const info = (await nodes.get()).get(name)?.status.nodeInfo
    const { kubeletVersion = 'nothing', containerRuntimeVersion, osImage, kernelVersion } = info ?? {}
    const evidence = `= ${kubeletVersion}, ${containerRuntimeVersion}, ${osImage}, kernel ${kernelVersion}`
    return kubeletVersion === version ? evidence : `${evidence}\nruns ${kubeletVersion}, the settings say ${version}`
  },
  look: `kubectl get nodes -o wide     # ${version}`,
  hint: '09_k3s_02 rolls servers, 09_k3s_03 workers'
})

export const allScripts = [...scripts, finalValidation]

// ---- Then, where asked for: the drill, the page, the bundle ----

type Drilled = { rows: DrillRow[]; fault: string }

// The drill holds the lock, and asks a canary of its own through the load balancers.
const holdDrill = async (run: Run): Promise<Drilled> => {
  const { kubectl, signal, note } = run
  const power = hetznerPower({ signal, say: note })
  await typed('drill', `Servers and a worker will be ${power ? 'switched off at Hetzner' : 'cut off'}, one after the other, and given back.`)
  return withLock(run, { script: '09_final_validation --drill' }, () => withCanary({ kubectl, signal, name: 'drill' }, async (canaryHost) => {
    await untilAnswered(canaryHost, run)
    return { rows: await drill(run, { canaryHost, power }), fault: '' }
  })).catch((error: unknown) => {
    if (error instanceof DrillFailed) return { rows: error.rows, fault: error.message }
    throw error
  })
}

const untilAnswered = (host: string, { settings: { load_balancers: { http } }, signal }: Run): Promise<string> =>
  until(async () => {
    const answers = await Promise.all(http.map((address) => get(address, { host, path: '/name' })))
    return answers.every(({ status }) => status === 200) ? '' : 'the canary is not answered yet'
  }, { seconds: 60, signal })

type Wanted = { html: string | undefined; bundle: string | undefined; drill: boolean }

const goOn = async ({ run, sections, exitCode, seconds, say }: Validated, { html, bundle, drill: wanted }: Wanted) => {
  const { settings } = run
  if (wanted && exitCode !== 0) say('No drill: not everything holds, and a drill would make that worse.')
  const drilled = wanted && exitCode === 0 ? await holdDrill(run) : undefined
  for (const line of drilled ? renderDrill(drilled.rows) : []) say(line)
  if (drilled?.fault) say(drilled.fault)
  const code = drilled?.fault ? 1 : exitCode

  const page = renderHtml({
    title: finalValidation.title, environment: settings.environment, date: new Date(), exitCode: code, seconds, sections,
    versions: { K3s: settings.k3s.version, Ingress: settings.ingress.image },
    tables: [drillTable(drilled?.rows ?? [])],
    failed: drilled?.fault ? 'the failover drill' : undefined
  })
  if (html !== undefined) {
    await writeFile(html, page, { mode: 0o600 })
    say(`The report is ${html}`)
  }
  if (bundle !== undefined) {
    for (const lack of await writeBundle(run, { file: bundle, report: page })) say(`not in the bundle: ${lack}`)
    say(`The bundle is ${bundle}`)
  }
  return { exitCode: code, ...(drilled ? { drill: drilled.rows } : {}) }
}

if (import.meta.main) {
  await operate(allScripts, import.meta.filename, {
    mode: 'validate',
    choose: ({ drill: wanted }) => {
      if (wanted) needTerminal('--drill') // before anything is looked at, which takes a minute
      return allScripts
    },
    after: goOn,
    flags: {
      html: output('the report as one page for a browser'),
      bundle: output('what a supporter would ask for, as FILE.tar.gz; without secrets'),
      drill: flag('take servers and a worker away under live traffic, and measure; must be confirmed')
    }
  })
}
