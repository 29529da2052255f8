import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readSettings, type Settings } from '../../lib/input/settings.mts'
import { realApps } from '../lab/real-apps.mts'
import { labSettings } from '../lab/settings.mts'

const root = new URL('../..', import.meta.url).pathname

const parsed = async (wanted: { realApps: boolean; version?: string }): Promise<Settings> => {
  const file = join(await mkdtemp(join(tmpdir(), 'keybuzz-lab-settings-')), 'settings.yaml')
  await writeFile(file, await labSettings(wanted))
  return readSettings(file)
}

const imagesOf = ({ apps: { n8n, superset } }: Settings): string[] => [n8n.image, n8n.runners_image, superset.image]

test("only --real-apps puts other images into the lab's settings, and nothing else", async () => {
  const [plain, real] = await Promise.all([parsed({ realApps: false }), parsed({ realApps: true })])
  assert.equal(imagesOf(real), ['docker.io/n8nio/n8n:2.41.1', 'docker.io/n8nio/runners:2.41.1', 'ghcr.io/keybuzzio/superset:6.1.0-1'])
  const { n8n, superset } = plain.apps
  assert.equal({
    ...real,
    apps: {
      ...real.apps,
      n8n: { ...real.apps.n8n, image: n8n.image, runners_image: n8n.runners_image },
      superset: { ...real.apps.superset, image: superset.image }
    }
  }, plain)
})

test('the release is in the settings, with and without the real applications', async () => {
  for (const real of [false, true]) assert.is((await parsed({ realApps: real, version: 'v1.36.9+k3s1' })).k3s.version, 'v1.36.9+k3s1')
})

test('no image has the name of a stand-in: pods could run either', async () => {
  const standins = await readFile(join(root, 'test/lab/apps/build'), 'utf8')
  for (const image of imagesOf(await parsed({ realApps: true }))) assert.not(standins.includes(image), image)
})

test('n8n and Superset are of the versions that their names say', async () => {
  const { apps: { n8n, superset } } = await parsed({ realApps: true })
  assert.is(n8n.image.split(':')[1], n8n.runners_image.split(':')[1])
  const packages = await readFile(join(root, 'test/lab/real-apps/superset/requirements.txt'), 'utf8')
  assert.match(packages, `apache_superset==${superset.image.split(':')[1]?.split('-')[0]}\n`)
  assert.match(packages, 'psycopg2-binary==')
  assert.equal(packages.split('\n').filter((line) => line !== '' && !/^(#.*|[\w.-]+==[\w.]+)$/.test(line)), [], 'exact versions')
})

test('an argument that up does not know is refused', () => {
  assert.is(realApps([]), false)
  assert.is(realApps(['--real-apps']), true)
  assert.throws(() => realApps(['--real-app']), /Unknown option '--real-app'/)
})

test.run()
