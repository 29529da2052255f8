import { quote } from 'zx'
import type { Settings } from '../input/settings.mts'
import { pathOf, places } from './holder.mts'

/** Shell that prints each value of a Secret, by its key. It calls `kept NAME`, and `encoded NAME` for a value in a URL. */
type Printed = Record<string, string>

/** Shell for the data of a Secret, from its template. Values stay in bash: printf is no program of its own. */
export const ofTemplate = (template: Record<string, string>): Printed =>
  Object.fromEntries(Object.entries(template).map(([key, text]) => {
    const calls = [...text.matchAll(places)].map(([, plain, inUrl]) => (plain === undefined ? `encoded ${inUrl}` : `kept ${plain}`))
    if (calls.length === 1 && text.replace(places, '') === '') return [key, calls[0]!]
    const format = text.replaceAll(places, '\0').replaceAll('\\', '\\\\').replaceAll('%', '%%').replaceAll('\0', '%s')
    return [key, ['printf', quote(format), ...calls.map((call) => `"$(${call})"`)].join(' ')]
  }))

/** Shell for the one key of a Secret that images are pulled with. */
export const ofPassword = (server: string, user: string, name: string): string =>
  `printf '{"auths":{"${server}":{"auth":"%s"}}}' "$(printf '${user}:%s' "$(kept ${name})" | base64 -w0)"`

/** The functions that such shell calls. */
export const functionsFor = (settings: Settings, printed: Printed): string => {
  const encodes = Object.values(printed).some((shell) => shell.includes('encoded '))
  return `kept() { tr -d '\\n' < ${pathOf(settings, '"$1"')}; }${encodes ? `\n${encoded}` : ''}`
}

/**
 * How an operator compares a Secret with the bastion's files, and makes it from them. The values go through pipes, and
 * kubectl diff shows *** instead of them.
 */
export const secretByHand = (
  settings: Settings,
  { namespace, name, type }: { namespace: string; name: string; type: string },
  printed: Printed
): { look: string; byHand: string } => {
  const files = Object.entries(printed).map(([key, shell]) => `--from-file=${key}=<(${shell})`)
  return {
    look: `${functionsFor(settings, printed)}
secret() {
  ${[`kubectl -n ${namespace} create secret generic ${name} --type=${type} --dry-run=client -o yaml`, ...files].join(' \\\n    ')}
}
secret | kubectl diff --server-side --force-conflicts -f -
# Keys that are too many:
kubectl -n ${namespace} get secret ${name} -o go-template='{{range $key, $_ := .data}}{{$key}}{{"\\n"}}{{end}}' |
  grep -vxF ${['', ...Object.keys(printed)].map((key) => `-e '${key}'`).join(' ')}`,
    byHand: `secret | kubectl apply --server-side --force-conflicts -f -
# Where a key is too many:
secret | kubectl replace -f -`
  }
}

// As encodeURIComponent does it. \\x27 is a single quote.
const encoded = `encoded() { kept "$1" | python3 -c 'import sys, urllib.parse as url
print(url.quote(sys.stdin.buffer.read(), safe="!~*\\x27()"), end="")'; }`
