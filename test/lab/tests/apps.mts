// What the tests of the applications share.
import { bastion } from '../nodes.mts'

/** The host of each application, and a path that it answers without a login. */
export const hosts = {
  api: ['platform-api.keybuzz.io', '/health'],
  front: ['platform.keybuzz.io', '/'],
  chatwoot: ['support.keybuzz.io', '/health'],
  n8n: ['n8n.keybuzz.io', '/healthz'],
  superset: ['analytics.keybuzz.io', '/health']
} as const

/** The lab's settings with a change, as a file in the bastion. `change` is JavaScript that gets `settings`. */
export const changed = async (name: string, change: string): Promise<string> => {
  const file = `/root/${name}.yaml`
  const program = `
import { readFileSync, writeFileSync } from 'node:fs'
import { parse, stringify } from '/opt/keybuzz/node_modules/yaml/dist/index.js'
const settings = parse(readFileSync('/opt/keybuzz/settings.yaml', 'utf8'))
${change}
writeFileSync('${file}', stringify(settings))`
  const { exitCode, stderr } = await bastion(['node', '--input-type=module', '-e', program])
  if (exitCode !== 0) throw new Error(stderr)
  return file
}

/** A request of curl in the bastion, through the first load balancer. Status 0: no answer. */
export const request = async (host: string, path: string, ...more: string[]): Promise<{ status: number; body: string }> => {
  const { stdout } = await bastion(['curl', '-sS', '-m', '30', '-w', '\n%{http_code}', '-H', `Host: ${host}`, ...more, `http://10.0.0.5${path}`])
  const lines = stdout.split('\n')
  return { status: Number(lines.at(-1)), body: lines.slice(0, -1).join('\n') }
}
