#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
// 09_k3s_07  Install the monitoring
//
// Prometheus twice, on nodes of the pools that the settings name, with Alertmanager, Grafana, and exporters for the nodes, the
// cluster and the servers outside it. Which of these are watched, servers.tsv says by ROLE. At the end every target must be
// reached, every alert loaded, an alert must get to Alertmanager, and Grafana must answer through both load balancers.
//
// Needs:   09_k3s_05. Settings: who gets messages (monitoring.alerts). Firewalls of the servers outside, and a role of
//          PostgreSQL and of MariaDB that may look (docs/monitoring.md). Passwords: as for 06 (docs/app-secrets.md).
// Changes: the namespaces monitoring and monitoring-nodes; the ClusterRoles keybuzz-prometheus and keybuzz-kube-state-metrics;
//          secrets in ~/.keybuzz/secrets of the bastion. With --send-test: sends a message to everybody in monitoring.alerts.
// Undo:    `kubectl delete namespace monitoring monitoring-nodes` and `kubectl delete clusterrole,clusterrolebinding
//          keybuzz-prometheus keybuzz-kube-state-metrics`. What Prometheus has measured is lost with it.
// Example: ./09_k3s_07_install_monitoring.mts --send-test

import { givenNames } from './lib/apps/apps.mts'
import { hasTables } from './lib/apps/backends/postgres.mts'
import { answersAtItsHost } from './lib/cluster/answers.mts'
import { manifestStep } from './lib/cluster/objects.mts'
import { rolledOut } from './lib/cluster/pods.mts'
import { hasNoneOf } from './lib/cluster/turned-off.mts'
import { askedByPrometheus, componentNames } from './lib/monitoring/components.mts'
import { faultsOf } from './lib/monitoring/complete.mts'
import { hasDashboards } from './lib/monitoring/dashboards.mts'
import { alertNames, filesIn } from './lib/monitoring/files.mts'
import { grafanaPassword, holdersOf, monitoringSecrets, namespace, readBy, waysOf } from './lib/monitoring/holders.mts'
import { alertmanagers } from './lib/monitoring/places.mts'
import { alertsArrive, hasRules, scrapesEverything, showsDashboards } from './lib/monitoring/proofs.mts'
import { type RenderedComponent, renderMonitoring } from './lib/monitoring/render.mts'
import { sendsTest } from './lib/monitoring/send-test.mts'
import { type Targets, targetsOf } from './lib/monitoring/targets.mts'
import { hasItsVolumes, mayRunAtItsVolumes } from './lib/monitoring/volumes.mts'
import { isComplete } from './lib/run/complete.mts'
import { flag, instead, value } from './lib/run/flags.mts'
import type { Run } from './lib/run/run.mts'
import { operate, script } from './lib/run/script.mts'
import type { ClusterStep } from './lib/run/step.mts'
import { checksum, checksumByHand, hasSecret, noteOfChecksum } from './lib/secrets/cluster-secret.mts'
import { knownSecrets, knowsGiven } from './lib/secrets/given.mts'
import { ofSecrets, type Secrets } from './lib/secrets/holder.mts'
import { hasMade } from './lib/secrets/made.mts'
import { databasePassword } from './lib/vault/database.mts'

export const installMonitoring = script({
  id: '09_k3s_07',
  title: 'Install the monitoring',
  file: import.meta.filename,
  flags: {
    secrets: value('FILE', 'passwords, as lines NAME=value; its mode is 0600'),
    'send-test': instead(flag('send a test message to everybody in monitoring.alerts, and do nothing else'))
  },
  story: async (run, flags) => {
    const { settings, machines, hosts, kubectl, mode } = run
    const faults = faultsOf(settings, hosts, machines)
    if (!(await isComplete(run, { of: 'the monitoring', script: '09_k3s_07_install_monitoring', faults }))) return
    if (flags['send-test']) return run.once([sendsTest(run, waysOf(settings))])

    const targets = targetsOf(machines, settings)
    const holders = holdersOf(settings, targets)
    const secrets = await knownSecrets(run, { holders: Object.values(holders), file: flags.secrets, also: [...givenNames(settings), ...monitoringSecrets, databasePassword] })
    await run.once([
      knowsGiven(run, secrets, { whose: 'the monitoring', refusal: async () => '' }),
      hasMade(run, holders.alertmanager, secrets),
      hasMade(run, holders.exporters, secrets),
      hasMade(run, holders.grafana, secrets, () => usedByGrafana(run, secrets))
    ])
    if (mode === 'runbook') run.note(noteOfChecksum)
    const { namespaces, components } = await renderMonitoring(settings, machines, (name, texts) =>
      (mode === 'runbook' ? checksumByHand : checksum(readBy(holders, name), secrets, texts)))
    const dashboards = await filesIn('dashboards', '.json')
    const off = turnedOff(components, targets)
    await run.once([
      manifestStep(kubectl, 'has the namespaces of the monitoring', namespaces),
      hasItsVolumes(run),
      mayRunAtItsVolumes(run),
      ...Object.values(holders).map((holder) => hasSecret(run, holder, secrets)),
      ...components.flatMap(({ title, base }) => (base === '' ? [] : [manifestStep(kubectl, `has the configuration of ${title}`, base)])),
      hasDashboards(kubectl, dashboards),
      ...components.map(({ title, manifest }) => manifestStep(kubectl, `has the pods of ${title}`, manifest)),
      ...components.map((component) => runs(run, component)),
      ...(off.length > 0 ? [hasNoneOf(kubectl, namespace, off)] : [])
    ])
    await run.once([
      scrapesEverything(run),
      hasRules(run, await alertNames()),
      alertsArrive(run, alertmanagers),
      showsDashboards(run, Object.keys(dashboards).length),
      answersAtItsHost({ host: settings.monitoring.grafana.host, answer: { path: '/api/health', body: 'ok' } }, settings)
    ])
  }
})

/** The objects of the components that there is nothing to ask for any more. */
const turnedOff = (components: RenderedComponent[], targets: Targets): string[] => [
  ...componentNames.filter((name) => !components.some((one) => one.name === name))
    .flatMap((name) => [`deployment/${name}`, `service/${name}`, `networkpolicy/${name}-asks`]),
  ...(askedByPrometheus(targets).length === 0 ? ['networkpolicy/prometheus-asks-servers'] : [])
]

/**
 * Grafana's database in PostgreSQL where it has tables, else ''. Grafana takes its administrator's password and its key into an
 * empty database only: made anew they would not be those that it uses.
 */
const usedByGrafana = async ({ settings, signal }: Run, { known }: Secrets): Promise<string> => {
  const { database, user } = settings.monitoring.grafana
  const use = { database, user, password: grafanaPassword }
  return database !== '' && known.has(grafanaPassword) && await hasTables(settings, use, ofSecrets(known), signal) ? database : ''
}

const runs = ({ kubectl, hosts }: Run, { name, title, namespace: own, kind }: RenderedComponent): ClusterStep => ({
  ...rolledOut(kubectl, { kind, namespace: own, name, step: `runs ${title}`, within: 300, ...(kind === 'daemonset' ? { nodes: hosts.length } : {}) }),
  ...(kind === 'statefulset' ? {
    hint: `while the node of one is away the other keeps its old configuration: kubectl -n ${own} delete pod ${name}-0 (docs/monitoring.md)`
  } : {})
})

if (import.meta.main) await operate([installMonitoring], import.meta.filename)
