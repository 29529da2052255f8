import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { execFile } from 'node:child_process'
import { delimiter } from 'node:path'
import { commands } from './node-shell.mts'

/** What a made-up node has: its kubelet's answer to /healthz ('' is dead), its Node's Ready condition, its journal. */
export type Kubelet = {
  healthz?: string
  ready?: string
  journal?: string
  others?: Record<string, string>
  /** True where only a server that is named answers. */
  away?: boolean
}

/** A heartbeat a minute after K3s was started. */
export const beat = '2026-11-26T10:01:00Z'
const started = Date.parse('2026-11-26T10:00:00Z') / 1000

/** Runs a check of a node on this machine, with a kubelet, a journal, and a kubectl that are made up. Returns what it printed. */
export const withKubelet = async (check: string, { healthz = 'ok', ready = `${beat} True kubelet is posting ready status`, journal = '', others = {}, away = false }: Kubelet = {}): Promise<string> => {
  const kubelet = createServer((_, response) => void response.writeHead(healthz === 'ok' ? 200 : 500).end(healthz))
  await new Promise<void>((resolve) => void kubelet.listen(0, '127.0.0.1', resolve))
  const { port } = kubelet.address() as AddressInfo
  if (healthz === '') kubelet.close()
  const path = commands({
    systemctl: `echo '@${started}'`,
    journalctl: `cat <<'END'\n${journal}\nEND`,
    k3s: `${away ? '[[ "$*" == *--server=https://* ]] || { echo "Unable to connect to the server"; exit 1; }' : ''}
case "$*" in *lastHeartbeatTime*) echo '${ready}';; esac`,
    ...others
  })
  try {
    return await new Promise((resolve, reject) => {
      const shell = `set -euo pipefail\n${check.replaceAll('/127.0.0.1/10248', `/127.0.0.1/${port}`)}`
      const env = { ...process.env, PATH: [path, process.env['PATH']].join(delimiter) }
      execFile('bash', ['-c', shell], { env }, (error, stdout, stderr) => (error ? reject(new Error(`${error.message}\n${stderr}`)) : resolve(stdout.trim())))
    })
  } finally {
    kubelet.close()
  }
}
