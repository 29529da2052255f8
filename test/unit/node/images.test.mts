import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { UsageError } from '../../../lib/base/errors.mts'
import { hasArchive, imageArchives } from '../../../lib/node/images.mts'
import { answeringSsh } from '../../support/answering-ssh.mts'
import { hostOf } from '../../support/hosts.mts'
import { commands, onNode } from '../../support/node-shell.mts'

const host = hostOf('a', { address: '10.0.0.100', user: 'admin' })

/** A release's folder with tar files in `images`: the files of each with their texts. */
const withTars = (tars: Record<string, Record<string, string>>): string => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-images-'))
  mkdirSync(join(folder, 'images'))
  for (const [name, files] of Object.entries(tars)) {
    for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text)
    execFileSync('tar', ['-cf', join(folder, 'images', name), '-C', folder, '--', ...Object.keys(files)])
  }
  return folder
}

const configOf = (architecture: string): string => JSON.stringify({ os: 'linux', architecture })

/** The same with archives of images: the tags of each, or undefined for a tar that is none. */
const withArchives = (archives: Record<string, (string | null)[] | undefined>, architecture = 'amd64'): string =>
  withTars(Object.fromEntries(Object.entries(archives).map(([name, tags]) => [name, tags === undefined ? { 'other.json': '{}' } : {
    'config.json': configOf(architecture),
    'manifest.json': JSON.stringify(tags.map((tag) => ({ Config: 'config.json', RepoTags: tag && [tag] })))
  }])))

const silent = (): void => {}

const refused = async (folder: string): Promise<string> => {
  try {
    await imageArchives(folder, silent)
  } catch (error) {
    assert.instance(error, UsageError)
    return (error as Error).message.replaceAll(folder, '')
  }
  throw new Error('it was not refused')
}

test('archives are read with their sums, and images by the names that containerd has for them', async () => {
  const folder = withArchives({
    'b.tar': ['nginx:1.29', 'rancher/shell:v1', 'localhost/own:1', 'registry.example:5000/team/app:2', 'quay.io/x/y:3'],
    'a+1.tar': ['busybox:1.37']
  })
  for (const name of ['notes.txt', 'c.tar.gz', 'd.TAR', 'e.tgz']) writeFileSync(join(folder, 'images', name), 'not an archive')
  const said: string[] = []
  const [first, second, ...more] = await imageArchives(folder, (line) => said.push(line.replaceAll(folder, '')))
  assert.equal(more, [])
  assert.equal([first?.name, first?.images], ['a+1.tar', ['docker.io/library/busybox:1.37']])
  assert.equal(said, ['c.tar.gz', 'd.TAR', 'e.tgz', 'notes.txt'].map((name) =>
    `/images: "${name}" is skipped, only names that end in .tar are taken. Hint: unpack it (gunzip, zstd -d), or rename it`))
  const file = join(folder, 'images', 'a+1.tar')
  assert.equal([first?.file, first?.sha256], [file, createHash('sha256').update(readFileSync(file)).digest('hex')])
  assert.equal(second?.images, [
    'docker.io/library/nginx:1.29', 'docker.io/rancher/shell:v1', 'localhost/own:1', 'registry.example:5000/team/app:2', 'quay.io/x/y:3'
  ])
})

test('a release without such a folder, or with an empty one, has none', async () => {
  assert.equal(await imageArchives(mkdtempSync(join(tmpdir(), 'keybuzz-images-')), silent), [])
  assert.equal(await imageArchives(withArchives({}), silent), [])
})

test('what is in the subfolder workers is for workers alone, and nothing may be in both', async () => {
  const folder = withArchives({ 'a.tar': ['a:1'], 'b.tar': ['b:1'] })
  mkdirSync(join(folder, 'images', 'workers'))
  renameSync(join(folder, 'images', 'b.tar'), join(folder, 'images', 'workers', 'b.tar'))
  const said: string[] = []
  const archives = await imageArchives(folder, (line) => said.push(line))
  assert.equal(archives.map(({ name, onlyWorkers }) => [name, onlyWorkers]), [['a.tar', false], ['b.tar', true]])
  assert.is(archives[1]?.file, join(folder, 'images', 'workers', 'b.tar'))
  assert.equal(said, [])
  copyFileSync(join(folder, 'images', 'a.tar'), join(folder, 'images', 'workers', 'a.tar'))
  assert.is(await refused(folder), '/images/workers/a.tar file name "a.tar": expected another one than in /images. Keep one of the two.')
})

test('a folder that cannot be read is not taken for an empty one', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-images-'))
  writeFileSync(join(folder, 'images'), '')
  await imageArchives(folder, silent).then(() => assert.unreachable(), (error: NodeJS.ErrnoException) => assert.is(error.code, 'ENOTDIR'))
})

test('a name that a shell could misread is refused', async () => {
  const folder = withArchives({ "it's.tar": ['a:1'], '$(x).tar': ['a:1'], 'fine.tar': ['a:1'] })
  assert.is(await refused(folder), `/images file name "$(x).tar": expected letters, digits and . _ + @ - only. Rename the file.
/images file name "it's.tar": expected letters, digits and . _ + @ - only. Rename the file.`)
})

test('an archive without names, and one that is none, are refused', async () => {
  assert.match(await refused(withArchives({ 'by-id.tar': [null] })), /^\/images\/by-id\.tar archive: expected images with their names/)
  assert.match(await refused(withArchives({ 'other.tar': undefined })), /^\/images\/other\.tar archive: expected images/)
  const folder = withArchives({})
  writeFileSync(join(folder, 'images', 'text.tar'), 'no tar at all')
  assert.match(await refused(folder), /^\/images\/text\.tar archive: expected images/)
})

test('a name that is no image reference is refused: it would reach a shell on every node', async () => {
  const odd = ['x$(id -un>file):1', 'x:1;reboot', 'x y:1', "x':1", 'x:1\ny:1', '-x:1', 'x', 'x/Y:1', '<none>:<none>', 'x:-1', 'a//b:1', '../x:1', `x:${'1'.repeat(129)}`]
  const message = await refused(withArchives({ 'evil.tar': odd, 'other.tar': ['fine:1', '`reboot`:1'] }))
  const lines = message.split('\n')
  assert.is(lines.length, odd.length + 1, message)
  assert.is(lines[0], '/images/evil.tar image name "x$(id -un>file):1": expected NAME:TAG, as image references are. Take the file out of the folder, and ask who made it.')
  assert.match(lines.at(-1)!, /^\/images\/other\.tar image name "`reboot`:1": /)
  assert.is((await imageArchives(withArchives({ 'a.tar': [
    'registry.k8s.io/a/b__c/d-e.f:v1.2_3-x', 'Registry.Example.com:5000/x:1', `x:${'1'.repeat(128)}`
  ] }), silent))[0]!.images.length, 3)
})

test('an archive for another architecture, or that says none, is refused, with the others', async () => {
  const folder = withArchives({ 'arm.tar': ['a:1'] }, 'arm64')
  assert.is(await refused(folder), '/images/arm.tar platform of "a:1" "linux/arm64": expected linux/amd64, as the nodes are. ' +
    'Pull it with --platform linux/amd64, and save it again.')
  const manifest = (config: unknown): string => JSON.stringify([{ Config: config, RepoTags: ['a:1'] }])
  const message = await refused(withTars({
    'lacks.tar': { 'manifest.json': manifest('config.json') },
    'none.tar': { 'manifest.json': JSON.stringify([{ RepoTags: ['a:1'] }]) },
    'spoilt.tar': { 'manifest.json': manifest('config.json'), 'config.json': '{ "os": ' }
  }))
  assert.equal(message.split('\n').map((line) => /"unknown"/.test(line)), [true, true, true], message)
})

test('what stands in an archive is no option of tar, and a manifest that is none is refused', async () => {
  const trace = join(mkdtempSync(join(tmpdir(), 'keybuzz-images-')), 'trace')
  const config = `--to-command=touch ${trace}`
  const folder = withTars({ 'evil.tar': { 'manifest.json': JSON.stringify([{ Config: config, RepoTags: ['a:1'] }]) } })
  assert.match(await refused(folder), /"unknown"/)
  assert.not(existsSync(trace))
  for (const text of ['{', 'null', '{}', '[null]', '[{"RepoTags":"a:1"}]']) {
    assert.match(await refused(withTars({ 'a.tar': { 'manifest.json': text } })), /^\/images\/a\.tar archive: expected images/, text)
  }
})

const sha256 = createHash('sha256').update('hello').digest('hex')
const archive = { name: 'a.tar', file: '/cache/images/a.tar', sha256, images: ['docker.io/library/a:1', 'docker.io/library/b:1'] }

test('an archive that is missing, another one, or not imported is told', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-node-images-'))
  const says = (imported: string[], pinned = imported): string => {
    const check = hasArchive(host, answeringSsh(() => ''), archive).check as string
    const path = [commands({ k3s: `case "$*" in
'ctr -n k8s.io images ls -q') printf '%s\\n' ${imported.join(' ')} ;;
'ctr -n k8s.io images ls -q labels."io.cri-containerd.pinned"==pinned') printf '%s\\n' ${pinned.join(' ')} ;;
*) exit 1 ;;
esac` })]
    return onNode(check.replaceAll('/var/lib/rancher/k3s/agent/images', folder), { path }).stdout
  }
  assert.is(says([]), 'is missing')
  writeFileSync(join(folder, 'a.tar'), 'hello')
  assert.is(says(archive.images), '')
  assert.is(says(['docker.io/library/a:1', 'docker.io/library/b:12']), 'docker.io/library/b:1 is not imported')
  assert.is(says(archive.images, ['docker.io/library/a:1']), 'docker.io/library/b:1 would be removed when the disk fills')
  writeFileSync(join(folder, 'a.tar'), 'changed')
  assert.is(says(archive.images), 'is another one')
})

const importing = `k3s ctr -n k8s.io images import /var/lib/rancher/k3s/agent/images/a.tar
for image in docker.io/library/a:1 docker.io/library/b:1; do k3s ctr -n k8s.io images label "$image" io.cri-containerd.pinned=pinned >/dev/null; done`

test('an archive is pushed, imported, and kept', async () => {
  const asked: string[] = []
  const step = hasArchive(host, answeringSsh((script) => (asked.push(script), '')), archive)
  await (step.change as () => Promise<void>)()
  assert.equal(asked, [
    `push /cache/images/a.tar to /var/lib/rancher/k3s/agent/images/a.tar 0644 ${sha256}`,
    importing
  ])
  assert.is(step.byHand, `scp /cache/images/a.tar admin@10.0.0.100:/tmp/a.tar
ssh admin@10.0.0.100 sudo install -D -m 0644 /tmp/a.tar /var/lib/rancher/k3s/agent/images/a.tar
ssh admin@10.0.0.100 rm /tmp/a.tar
ssh admin@10.0.0.100 sudo bash -s <<'END'
${importing}
END`)
})

test.run()
