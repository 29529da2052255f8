import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { zstdCompressSync } from 'node:zlib'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { artifacts, releaseByHand, releaseByName, type ArtifactOptions } from '../../../lib/reach/release.mts'
import { UsageError } from '../../../lib/base/errors.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'

const test = suite('artifacts')
const VERSION = 'v1.36.5+k3s1'
const ARCH = process.arch === 'arm64' ? 'arm64' : 'amd64'
const K3S = ARCH === 'amd64' ? 'k3s' : `k3s-${ARCH}`
const IMAGES = `k3s-airgap-images-${ARCH}.tar.zst`
const SUMS = `sha256sum-${ARCH}.txt`

const scratch = await mkdtemp(join(tmpdir(), 'artifacts-'))
const count = join(scratch, 'asked')

const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex')

/** Says its version as k3s does, and leaves a trace of having been asked. */
const binary = (version = VERSION) =>
  `#!/bin/sh\necho asked >> '${count}'\necho "k3s version ${version} (0123abcd)"\necho "go version go1.26.7"\n`

const images = 'not really images '.repeat(100_000)

/** The files of a release, with sums as K3s writes them; other files of the release are listed too. */
const release = (k3s = binary(), archive: string | Buffer = images) => {
  const files: Record<string, string | Buffer> = { [K3S]: k3s, [IMAGES]: archive }
  const others = `${sha256('other')}  k3s-images.txt\n`
  const sums = Object.entries(files).map(([name, data]) => `${sha256(data)}  ${name}\n`)
  return { ...files, [SUMS]: others + sums.join('') }
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void

const serving = (files: Record<string, string | Buffer>): Handler => (request, response) => {
  const prefix = `/releases/${encodeURIComponent(VERSION)}/`
  const name = request.url?.startsWith(prefix) ? request.url.slice(prefix.length) : ''
  const data = files[name]
  if (data === undefined) response.writeHead(404).end('not here')
  else response.end(data)
}

let handler: Handler = serving({})
let requests: string[] = []
const server = createServer((request, response) => {
  requests.push(request.url?.split('/').at(-1) ?? '')
  handler(request, response)
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

test.before.each(async () => {
  requests = []
  handler = serving(release())
  await rm(count, { force: true })
})
test.after(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  await rm(scratch, { recursive: true })
})

const settingsOf = (values: Partial<ReturnType<typeof defaultSettings>['k3s']> = {}) => ({
  k3s: { ...defaultSettings().k3s, version: VERSION, release_url: `${origin}/releases`, ...values }
})

const newFolder = () => mkdtemp(join(scratch, 'folder-'))

const fill = async (files: Record<string, string | Buffer>) => {
  const folder = await newFolder()
  for (const [name, data] of Object.entries(files)) await writeFile(join(folder, name), data, { mode: 0o755 })
  return folder
}

const get = (options: ArtifactOptions, values = {}) => artifacts(settingsOf(values), options)

const failureOf = async (promise: Promise<unknown>): Promise<Error> => {
  try {
    await promise
  } catch (error) {
    if (error instanceof Error) return error
  }
  throw new Error('it succeeded')
}

const timesAsked = async () => {
  try {
    return (await readFile(count, 'utf8')).split('\n').length - 1
  } catch {
    return 0
  }
}

test('downloads the release, checks it, and makes the binary executable', async () => {
  const cache = await newFolder()
  const said: string[] = []
  const found = await get({ cache, say: (line) => said.push(line) })
  assert.equal(found, {
    k3s: { file: join(cache, VERSION, K3S), sha256: sha256(binary()) },
    images: { file: join(cache, VERSION, IMAGES), sha256: sha256(images) },
    folder: join(cache, VERSION),
    busybox: 'rancher/mirrored-library-busybox:1.37.0'
  })
  assert.equal(requests, [SUMS, K3S, IMAGES])
  assert.is((await stat(found.k3s.file)).mode & 0o777, 0o755)
  assert.is(await readFile(found.images.file, 'utf8'), images)
  assert.equal((await readdir(join(cache, VERSION))).toSorted(), [IMAGES, K3S, SUMS].toSorted())
  assert.ok(said.includes(`downloading ${IMAGES} of K3s ${VERSION}`), said.join('\n'))
})

test('a second run asks nobody, not even the binary', async () => {
  const cache = await newFolder()
  const first = await get({ cache })
  requests = []
  assert.equal(await get({ cache }), first)
  assert.equal(requests, [])
  assert.is(await timesAsked(), 1)
})

test('a file of the cache that was changed is downloaded again', async () => {
  const cache = await newFolder()
  const { images: { file } } = await get({ cache })
  const { atime, mtime } = await stat(file)
  await writeFile(file, images.replace('not', 'NOT'))
  await utimes(file, atime, mtime)
  requests = []
  await get({ cache })
  assert.equal(requests, [SUMS, IMAGES])
  assert.is(await readFile(file, 'utf8'), images)
})

test('a cache that was cut short is completed', async () => {
  const cache = await newFolder()
  const { k3s } = await get({ cache })
  await chmod(k3s.file, 0o600)
  await rm(join(cache, VERSION, IMAGES))
  requests = []
  await get({ cache })
  assert.equal(requests, [SUMS, IMAGES])
  assert.is((await stat(k3s.file)).mode & 0o777, 0o755)
})

test('what was remembered may be lost or spoilt', async () => {
  const cache = await newFolder()
  const first = await get({ cache })
  await writeFile(join(cache, 'verified.json'), '{ "half": ')
  assert.equal(await get({ cache }), first)
  await writeFile(join(cache, 'verified.json'), 'null')
  assert.equal(await get({ cache }), first)
})

test('a folder that holds the files is used as it is', async () => {
  const folder = await fill(release())
  const cache = await newFolder()
  for (const found of [await get({ cache, dir: folder }), await get({ cache }, { artifacts: folder })]) {
    assert.is(found.k3s.file, join(folder, K3S))
    assert.is(found.images.sha256, sha256(images))
  }
  assert.equal(requests, [])
})

test('--artifacts goes before the settings', async () => {
  const cache = await newFolder()
  const folder = await fill(release())
  const found = await get({ cache, dir: folder }, { artifacts: '/nowhere' })
  assert.is(found.k3s.file, join(folder, K3S))
})

test('a folder without the files says which', async () => {
  const folder = await fill({ [K3S]: binary() })
  const error = await failureOf(get({ cache: await newFolder(), dir: folder }))
  assert.instance(error, UsageError)
  assert.is(error.message, [SUMS, IMAGES].map((name) =>
    `${join(folder, name)} file: expected it to be there. The folder must hold ${name} of K3s ${VERSION}; `
      + 'without a folder it is downloaded.').join('\n'))
  assert.equal(requests, [])
})

test('a damaged file of a folder says what was expected and found', async () => {
  const folder = await fill({ ...release(), [IMAGES]: 'damaged' })
  const error = await failureOf(get({ cache: await newFolder(), dir: folder }))
  assert.instance(error, UsageError)
  assert.is(error.message, `${join(folder, IMAGES)} SHA-256 "${sha256('damaged')}": expected ${sha256(images)}, `
    + `as ${SUMS} says. The file is damaged or of another release: get it again.`)
})

test('a folder of another version is refused', async () => {
  const folder = await fill(release(binary('v1.36.3+k3s1')))
  const error = await failureOf(get({ cache: await newFolder(), dir: folder }))
  assert.instance(error, UsageError)
  assert.is(error.message, `${join(folder, K3S)} version "v1.36.3+k3s1": expected ${VERSION}, as k3s.version in the `
    + 'settings says. Correct the setting, or provide the files of that release, and let the binary be executable.')
})

test('a binary of a folder that cannot be executed is refused, and accepted once it can', async () => {
  const folder = await fill(release())
  const cache = await newFolder()
  await chmod(join(folder, K3S), 0o644)
  const error = await failureOf(get({ cache, dir: folder }))
  assert.match(error.message, /version "exit 126: Permission denied": .*let the binary be executable\.$/)
  await chmod(join(folder, K3S), 0o755)
  await get({ cache, dir: folder })
})

test('sums without the file are a fault', async () => {
  const folder = await fill({ ...release(), [SUMS]: `${sha256(binary())}  ${K3S}\n` })
  const error = await failureOf(get({ cache: await newFolder(), dir: folder }))
  assert.is(error.message, `${join(folder, SUMS)} ${IMAGES}: expected a line with its SHA-256. `
    + 'Get the file again from the release.')
})

test('a version that does not exist is a fault of the settings', async () => {
  const error = await failureOf(get({ cache: await newFolder() }, { version: 'v9.9.9+k3s1' }))
  assert.instance(error, UsageError)
  assert.is(error.message, 'settings k3s.version "v9.9.9+k3s1": expected a release that is at '
    + `${origin}/releases/v9.9.9%2Bk3s1 (404). Correct k3s.version, or k3s.release_url.`)
})

const HOW_ELSE = `Run it again, or put the files of K3s ${VERSION} into a folder and name it with --artifacts.`

test('a server in trouble is no fault of the operator', async () => {
  handler = (_, response) => response.writeHead(503).end()
  const error = await failureOf(get({ cache: await newFolder() }))
  assert.not.instance(error, UsageError)
  const url = `${origin}/releases/v1.36.5%2Bk3s1/${SUMS}`
  assert.is(error.message, `GET ${url}: 503 Service Unavailable. ${HOW_ELSE}`)
})

test('a server that cannot be reached says so', async () => {
  const error = await failureOf(get({ cache: await newFolder() }, { release_url: 'http://127.0.0.1:1' }))
  assert.match(error.message, /^GET http:\/\/127\.0\.0\.1:1\/v1\.36\.5%2Bk3s1\/sha256sum-\w+\.txt: .+ Run it again/)
})

test('a download with another checksum is thrown away', async () => {
  const cache = await newFolder()
  handler = serving({ ...release(), [IMAGES]: 'something else' })
  const error = await failureOf(get({ cache }))
  const url = `${origin}/releases/v1.36.5%2Bk3s1/${IMAGES}`
  const found = sha256('something else')
  assert.is(error.message, `GET ${url}: its SHA-256 is ${found}, expected ${sha256(images)}. ${HOW_ELSE}`)
  assert.equal((await readdir(join(cache, VERSION))).toSorted(), [K3S, SUMS].toSorted())
})

test('a download that breaks off leaves nothing, and the next one starts over', async () => {
  const cache = await newFolder()
  const whole = serving(release())
  handler = (request, response) => {
    if (!request.url?.endsWith(IMAGES)) return whole(request, response)
    response.writeHead(200, { 'content-length': images.length })
    response.write(images.slice(0, 1000), () => response.destroy())
  }
  const error = await failureOf(get({ cache }))
  assert.ok(error.message.startsWith(`GET ${origin}/releases/v1.36.5%2Bk3s1/${IMAGES}: `), error.message)
  assert.equal((await readdir(join(cache, VERSION))).toSorted(), [K3S, SUMS].toSorted())
  handler = whole
  requests = []
  await get({ cache })
  assert.equal(requests, [SUMS, IMAGES])
})

test('what a killed download left is swept, and that of a running one is not', async () => {
  const cache = await newFolder()
  await mkdir(join(cache, VERSION))
  const dead = join(cache, VERSION, `${IMAGES}.4194305.1.part`)
  const running = join(cache, VERSION, `${IMAGES}.${process.ppid}.1.part`)
  for (const file of [dead, running]) await writeFile(file, 'half')
  await get({ cache })
  const names = await readdir(join(cache, VERSION))
  assert.not(names.includes(`${IMAGES}.4194305.1.part`))
  assert.ok(names.includes(`${IMAGES}.${process.ppid}.1.part`))
})

test('a download can be cancelled', async () => {
  const cancel = new AbortController()
  handler = (_, response) => {
    response.writeHead(200, { 'content-length': 100 })
    response.write('x', () => cancel.abort())
  }
  const cache = await newFolder()
  const error = await failureOf(get({ cache, signal: cancel.signal }))
  assert.is(error.name, 'AbortError')
  assert.equal(await readdir(join(cache, VERSION)), [])
})

/** An archive of images as K3s's releases have it: a compressed tar with the names in its manifest. */
const archiveOf = async (manifest: string): Promise<Buffer> => {
  const folder = await newFolder()
  await writeFile(join(folder, 'layer'), randomBytes(3_000_000))
  await writeFile(join(folder, 'manifest.json'), manifest)
  return zstdCompressSync(execFileSync('tar', ['-cC', folder, 'layer', 'manifest.json'], { maxBuffer: 10_000_000 }))
}
const tagged = (...tags: (string | null)[]): string => JSON.stringify(tags.map((tag) => ({ Config: 'x', RepoTags: tag && [tag] })))

test('the busybox is the one of the archive of images, which is read once', async () => {
  const folder = await fill(release(binary(), await archiveOf(tagged('rancher/mirrored-pause:3.6', null, 'docker.io/rancher/mirrored-library-busybox:1.38.1'))))
  const cache = await newFolder()
  const first = await get({ cache, dir: folder })
  assert.is(first.busybox, 'rancher/mirrored-library-busybox:1.38.1')
  const { [first.images.file]: known } = JSON.parse(await readFile(join(cache, 'verified.json'), 'utf8')) as Record<string, { busybox: string }>
  assert.is(known?.busybox, first.busybox)
  assert.equal(await get({ cache, dir: folder }), first)
  await writeFile(join(folder, IMAGES), await archiveOf(tagged('rancher/library-busybox:1.39.0')))
  const sums = (await readFile(join(folder, SUMS), 'utf8')).replace(first.images.sha256, sha256(await readFile(join(folder, IMAGES))))
  await writeFile(join(folder, SUMS), sums)
  assert.is((await get({ cache, dir: folder })).busybox, 'rancher/library-busybox:1.39.0')
})

test('an archive that names no busybox, or with text that is no name, leaves the usual one', async () => {
  const usual = 'rancher/mirrored-library-busybox:1.37.0'
  for (const manifest of [tagged('rancher/mirrored-pause:3.6'), tagged('rancher/mirrored-library-busybox:1"\nevil: x'), tagged('other/busybox:1'), '{', 'null']) {
    assert.is((await get({ cache: await newFolder(), dir: await fill(release(binary(), await archiveOf(manifest))) })).busybox, usual, manifest)
  }
})

test('two at once both succeed', async () => {
  const cache = await newFolder()
  const [first, second] = await Promise.all([get({ cache }), get({ cache })])
  assert.equal(first, second)
})

test('a runbook names the files as K3s does, and placeholders that it explains for their sums', async () => {
  const { k3s, images, folder } = releaseByName(settingsOf({ artifacts: '/srv/k3s' }))
  assert.equal([k3s.file, images.file, folder], ['k3s', 'k3s-airgap-images-amd64.tar.zst', '/srv/k3s'])
  const text = releaseByHand(settingsOf())
  for (const word of [k3s.sha256, images.sha256, k3s.file, images.file]) assert.ok(text.includes(`\`${word}\``), word)
  assert.ok(text.includes(`${origin}/releases/${encodeURIComponent(VERSION)}`), text)
  assert.ok(text.includes('sha256sum --check --ignore-missing sha256sum-amd64.txt'), text)
})

test.run()
