import { readFile } from 'node:fs/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readSettings } from '../../lib/input/settings.mts'

const root = new URL('../..', import.meta.url).pathname

test('the stand-in has the names of all images that the settings of the lab name', async () => {
  const { apps: { api, front, chatwoot, n8n, superset } } = await readSettings(`${root}test/lab/settings.yaml`)
  const wanted = [api.image, front.image, chatwoot.image, n8n.image, n8n.runners_image, superset.image].filter((image) => image !== '')
  const text = await readFile(`${root}test/lab/apps/build`, 'utf8')
  const tags = /^for tag in (.*); do$/m.exec(text)?.[1]?.split(' ') ?? []
  const made = [...text.matchAll(/^ *image (\S+)/gm)].flatMap(([, name = '']) => tags.map((tag) => name.replace('$tag', tag)))
  assert.equal(wanted.filter((image) => !made.includes(image)), [])
})

test.run()
