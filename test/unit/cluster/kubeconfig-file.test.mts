import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { UsageError } from '../../../lib/base/errors.mts'
import {
  caOf, formerOf, readKubeconfig, rewritten, withContext, writeKubeconfig, type Entry, type Kubeconfig
} from '../../../lib/cluster/kubeconfig-file.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-kubeconfig-'))
const file = join(folder, 'config')
test.before.each(() => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
})

const entry: Entry = {
  cluster: { 'certificate-authority-data': 'Q0E=', server: 'https://10.0.0.10:6443' },
  user: { 'client-certificate-data': 'Q0VSVA==', 'client-key-data': 'S0VZ' }
}
const name = 'keybuzz-prod'

/** Adds the context to a file with this text, and returns what it says then, as kubectl reads it, and its text. */
const added = async (text: string): Promise<{ says: Kubeconfig; text: string }> => {
  writeFileSync(file, text)
  const before = await readKubeconfig(file)
  await writeKubeconfig(file, before, withContext(before!.says, name, entry))
  const { says, text: now } = (await readKubeconfig(file))!
  assert.equal(withContext(says, name, entry), says, 'what was written holds')
  return { says, text: now }
}

const refused = async (text: string): Promise<string> => {
  writeFileSync(file, text)
  const error = await readKubeconfig(file).then(() => assert.unreachable(`${text} was taken`), (thrown: Error) => thrown)
  assert.instance(error, UsageError, String(error))
  return (error as Error).message.replaceAll(folder, '')
}

// As kubectx, a human and kubectl leave it: comments, names that YAML 1.1 takes for something else, keys of others.
const grown = `# mine, do not touch
apiVersion: v1
kind: Config
current-context: "no"   # the north
preferences: {colors: true}
clusters:
- name: "on" # quoted
  cluster:
    server: https://north
    insecure-skip-tls-verify: true
- cluster: # ours
    server: https://10.0.0.9:6443 # moved
    certificate-authority-data: Q0E=
    disable-compression: true
    insecure-skip-tls-verify: true
    extensions: [{name: x, extension: {last-update: 2026-11-26, version: 1e3}}]
  name: keybuzz-prod
users:
- name: '1e3'
  user: {token: abc, as: "0644"}
contexts:
- name: "no"
  context: {cluster: "on", user: '1e3'}
- context:
    cluster: keybuzz-prod
    namespace: team # kubens
    user: keybuzz-prod
  name: keybuzz-prod
`

test('what others have written keeps its words, its order and its comments', async () => {
  const { text, says } = await added(grown)
  for (const comment of ['# mine, do not touch', '# the north', '# quoted', '# ours', '# moved', '# kubens']) assert.ok(text.includes(comment), comment)
  assert.equal(text.split('\n').filter((line) => /^\S/.test(line)).map((line) => line.split(':')[0]), [
    '# mine, do not touch', 'apiVersion', 'kind', 'current-context', 'preferences',
    'clusters', '- name', '- cluster', 'users', "- name", '- name', 'contexts', '- name', '- context'
  ])
  assert.match(text, /server: https:\/\/10\.0\.0\.10:6443 # moved\n/)
  assert.match(text, /preferences: \{ colors: true \}/)
  assert.match(text, /user: \{ token: abc, as: "0644" \}/)
  assert.match(text, /context: \{ cluster: "on", user: '1e3' \}/)
  assert.match(text, /last-update: 2026-11-26, version: 1e3/)
  assert.is(text.match(/insecure-skip-tls-verify/g)?.length, 1, 'only of our own entry')
  assert.equal(says.clusters?.map((one) => one.name), ['on', name])
  assert.equal(says.contexts?.[1], { name, context: { cluster: name, user: name, namespace: 'team' } })
  assert.equal(says.users?.map((one) => one.name), ['1e3', name])
  assert.is(says['current-context'], 'no')
})

test('a file that kubectl, kubectx or kubens have written anew is not touched', async () => {
  for (const more of ['namespace: team', 'extensions: []']) {
    const { text } = await added(`apiVersion: v1\nkind: Config\ncontexts:\n- context:\n    cluster: x\n    ${more}\n    user: x\n  name: keybuzz-prod\n`)
    assert.match(text, new RegExp(more.replace('[]', '\\[\\]')))
  }
  // Nobody's current context is an operator's own decision.
  const { says } = await added('contexts:\n- name: work\n  context: {}\n')
  assert.is(says['current-context'], undefined)
})

test('null and empty lists are empty, and names that YAML 1.1 misreads are quoted', async () => {
  for (const empty of ['', '{}\n', '# nothing yet\n', 'clusters: null\ncontexts: ~\nusers:\nkind: Config\n', 'clusters: []\nkind: Config\n']) {
    const { says } = await added(empty)
    assert.equal([says.clusters?.length, says.users?.length, says.contexts?.length, says['current-context']], [1, 1, 1, name], empty)
  }
  for (const word of ['no', 'on', '1e3', 'y', '0644', '1:30', 'null', '~', '2026-11-26', '1_000', '0x1f', '.5']) {
    const text = rewritten('', {}, { 'current-context': word })
    assert.is((parse(text, { version: '1.1' }) as Kubeconfig)['current-context'], word, text)
  }
  assert.is(rewritten('', {}, { 'current-context': 'keybuzz-no' }), 'current-context: keybuzz-no\n')
})

test('a kubeconfig in JSON stays one', async () => {
  const { says, text } = await added('{"kind": "Config", "clusters": [{"name": "a", "cluster": {"insecure-skip-tls-verify": true}}], "contexts": [], "users": null}')
  assert.equal(says.clusters?.[0], { name: 'a', cluster: { 'insecure-skip-tls-verify': true } })
  assert.match(text, /^\{/)
})

test('a context of another cluster is kept by the hash of its CA, with its user and namespace', async () => {
  const other: Entry = { cluster: { ...entry.cluster, 'certificate-authority-data': 'b2xk' }, user: { 'client-certificate-data': 'MQ==', 'client-key-data': 'Mg==' } }
  const first = withContext({}, name, other)
  const says = { ...first, contexts: [{ name, context: { cluster: name, user: name, namespace: 'team' } }] } as Kubeconfig
  const ca = caOf(other.cluster)
  assert.match(ca, /^[0-9a-f]{8}$/)
  const former = `${name}-${ca}`
  assert.equal(formerOf(says, name, entry), { name: former, ca, server: 'https://10.0.0.10:6443' })
  const both = withContext(says, name, entry)
  assert.equal(both.clusters, [{ name, cluster: entry.cluster }, { name: former, cluster: other.cluster }])
  assert.equal(both.users, [{ name, user: entry.user }, { name: former, user: other.user }])
  assert.equal(both.contexts, [
    { name, context: { cluster: name, user: name, namespace: 'team' } },
    { name: former, context: { cluster: former, user: former, namespace: 'team' } }
  ])
  assert.is(formerOf(both, name, entry), undefined)
  assert.is(withContext(both, name, other).clusters?.length, 3, 'each of the two keeps the other')
  const written = await added(rewritten('', {}, says))
  assert.equal(written.says, both)
  assert.is(formerOf({ contexts: [{ name, context: { cluster: 'x' } }] }, name, entry), undefined)
})

test('what is no kubeconfig is refused, with its line', async () => {
  const remedy = 'Correct it, or move the file away.'
  assert.is(await refused('just words\n'), `/config:1 kubeconfig "just words": expected what kubectl writes: apiVersion, kind, clusters, contexts, users. ${remedy}`)
  assert.is(await refused('services:\n  web: {}\n'), `/config:1 kubeconfig "services:": expected a kubeconfig, with kind: Config. ${remedy}`)
  assert.is(await refused('kind: Config\nclusters: {}\n'), `/config:2 clusters "{}": expected a list. ${remedy}`)
  assert.is(await refused('kind: Config\ncontexts:\n- name: a\n- name: no\n'),
    `/config:4 contexts[1].name "no": expected text; in quotes where YAML 1.1 takes it for something else, such as no, on, 1e3. ${remedy}`)
  assert.is(await refused('kind: Config\nusers:\n- a\n'), `/config:3 users[0] "a": expected name and user. ${remedy}`)
  assert.is(await refused('kind: Config\nclusters:\n- name: a\n  cluster: b\n'), `/config:4 clusters[0].cluster "b": expected keys with values. ${remedy}`)
  assert.is(await refused('kind: Deployment\n'), `/config:1 kind "Deployment": expected Config. ${remedy}`)
  assert.is(await refused('kind: Config\ncurrent-context: no\n'), `/config:2 current-context "no": expected text, in quotes. ${remedy}`)
  assert.match(await refused('kind: Config\n\tx: 1\n'), /^\/config:2 YAML: expected what YAML allows \(/)
  assert.match(await refused('kind: Config\n---\nkind: Config\n'), /^\/config:\d YAML: expected what YAML allows \(.*multiple documents/)
  assert.match(await refused('kind: Config\nkind: Config\n'), /^\/config:2 YAML: .*unique/)
  rmSync(file)
  mkdirSync(file)
  await readKubeconfig(file).then(() => assert.unreachable(), (error: Error) => assert.match(error.message, /kubeconfig: expected a file\. Move it away\.$/))
})

test('a link stays a link, and what it points to is written for its owner alone', async () => {
  const real = join(folder, 'dotfiles')
  for (const there of [true, false]) {
    if (there) writeFileSync(real, 'kind: Config\n', { mode: 0o644 })
    symlinkSync('dotfiles', file)
    const before = await readKubeconfig(file)
    if (there) assert.is(before?.isPrivate, false)
    await writeKubeconfig(file, before, withContext(before?.says ?? {}, name, entry))
    assert.ok(lstatSync(file).isSymbolicLink())
    assert.is(statSync(real).mode & 0o777, 0o600)
    assert.match(readFileSync(real, 'utf8'), /keybuzz-prod/)
    assert.equal(readdirSync(folder).toSorted(), ['config', 'dotfiles'])
    rmSync(file)
    rmSync(real)
  }
})

test('what would not read back the same is not written', async () => {
  writeFileSync(file, 'kind: Config\n')
  const before = await readKubeconfig(file)
  const error = await writeKubeconfig(file, before, { contexts: [{ name: 'x', context: { at: undefined } }] })
    .then(() => assert.unreachable(), (thrown: Error) => thrown)
  assert.match(String(error), /it is as it was/)
  assert.is(readFileSync(file, 'utf8'), 'kind: Config\n')
  assert.equal(readdirSync(folder), ['config'])
})

test('a file that cannot be read is told, and not taken for none', async () => {
  assert.is(await readKubeconfig(join(folder, 'missing')), undefined)
  assert.not(existsSync(join(folder, 'missing')))
  writeFileSync(join(folder, 'plain'), '')
  await readKubeconfig(join(folder, 'plain', 'config')).then(() => assert.unreachable(), (error: NodeJS.ErrnoException) => assert.is(error.code, 'ENOTDIR'))
  chmodSync(join(folder, 'plain'), 0o600)
  assert.is((await readKubeconfig(join(folder, 'plain')))?.isPrivate, true)
})

test.run()
