import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ofPassword, ofTemplate, secretByHand } from '../../../lib/secrets/by-hand.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { commands, onNode } from '../../support/node-shell.mts'

const home = mkdtempSync(join(tmpdir(), 'keybuzz-by-hand-'))
process.env['HOME'] = home
const password = `!~*'()% \\n"$x#;&é:/@?`
mkdirSync(join(home, '.keybuzz/secrets'), { recursive: true })
writeFileSync(join(home, '.keybuzz/secrets/prod-redis-password'), `${password}\n`)
writeFileSync(join(home, '.keybuzz/secrets/prod-key'), 'sesame\n')

const settings = defaultSettings()
const place = { namespace: 'keybuzz-api', name: 'api', type: 'Opaque' }

// In the place of kubectl: `create` prints what it is given as kubectl would read it, `diff` and `apply` what they get.
const kubectl = commands({ kubectl: `case "$*" in
*' create secret generic '*)
  echo "\${*:1:6}" >&2
  for word; do case $word in --from-file=*) word=\${word#*=}; echo "\${word%%=*} $(base64 -w0 "\${word#*=}")" ;; esac; done ;;
'diff '*|'apply '*|'replace '*) cat; echo "$*" ;;
*' get secret '*) printf '%s\\n' CACHE_URL OLD ;;
esac` })

const made = (data: (of: (name: string) => string) => Record<string, string>): { data: Record<string, string>; shell: string; lines: string[] } => {
  const { look, byHand } = secretByHand(settings, place, ofTemplate(data((name) => `{{${name}}}`)))
  const { stdout, stderr } = onNode(`${look}\n${byHand.split('\n')[0]}`, { path: [kubectl] })
  assert.match(stderr, /^-n keybuzz-api create secret generic api\n/)
  const lines = stdout.split('\n')
  const values = lines.slice(lines.findIndex((line) => /^OLD$/.test(line)) + 1, -1).map((line) => line.split(' '))
  return { data: Object.fromEntries(values.map(([key = '', value = '']) => [key, Buffer.from(value, 'base64').toString()])), shell: look + byHand, lines }
}

test('by hand the Secret gets the same values, byte by byte, in URLs too', () => {
  const wanted = (of: (name: string) => string): Record<string, string> => ({
    KEY: of('key'),
    CACHE_URL: `redis://it's%20:${encodeURIComponent(of('redis-password'))}@10.0.0.10:6379/0`,
    TWO: `${of('key')}\\${of('redis-password')}`,
    FIXED: '100% "fixed"'
  })
  const { data, shell, lines } = made(wanted)
  assert.equal(data, wanted((name) => (name === 'key' ? 'sesame' : password)))
  assert.not.match(shell, /sesame|é/)
  assert.ok(lines.includes('diff --server-side --force-conflicts -f -'))
  assert.is(lines.at(-1), 'apply --server-side --force-conflicts -f -')
})

test('it names the keys that are too many, and nothing where there are none', () => {
  const { look } = secretByHand(settings, place, { CACHE_URL: 'kept key' })
  assert.is(onNode(look, { path: [kubectl] }).stdout.split('\n').at(-1), 'OLD')
  const empty = secretByHand(settings, place, {})
  assert.equal(onNode(empty.look, { path: [kubectl] }).stdout.split('\n').slice(-2), ['CACHE_URL', 'OLD'])
})

test('the password of a registry is put into the JSON of its type', () => {
  const shell = ofPassword('ghcr.io', 'bot', 'redis-password')
  const kept = secretByHand(settings, place, { '.dockerconfigjson': shell }).look.split('\n')[0]
  const { auths } = JSON.parse(onNode(`${kept}\n${shell}`).stdout) as { auths: Record<string, { auth: string }> }
  assert.is(Buffer.from(auths['ghcr.io']!.auth, 'base64').toString(), `bot:${password}`)
})

test.run()
