// What README.md and docs/ name is there: links and their anchors, scripts, flags, npm commands, settings, files.
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../lib/input/settings.mts'
import { valueAt } from '../../lib/input/yaml.mts'

const root = join(import.meta.dirname, '../..')
const scripts = globSync('09_*.mts', { cwd: root })

const pages = ['README.md', ...globSync('docs/**/*.md', { cwd: root }).toSorted()].map((name) => {
  const text = readFileSync(join(root, name), 'utf8')
  const console = [...text.matchAll(/^ *```console\n(.*?)^ *```$/gms)].flatMap(([, code = '']) => code.split('\n'))
  const prose = text.replaceAll(/^ *```.*?^ *```$/gms, '')
  const spans = [...prose.matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code)
  return { name, prose, spans, commands: [...spans, ...console] }
})

const found = (faults: string[]): void => assert.equal(faults, [])
const within = (of: (page: (typeof pages)[number]) => string[]): string[] =>
  pages.flatMap((page) => of(page).map((fault) => `${page.name}: ${fault}`))

const anchorsOf = (file: string): string[] =>
  [...readFileSync(file, 'utf8').matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-'))

test('every link leads to a file, and to a heading in it', () => {
  found(within(({ name, prose }) =>
    [...prose.matchAll(/\]\((?!https?:)([^)\s]*)\)/g)].flatMap(([, link = '']) => {
      const [path = '', anchor] = link.split('#')
      const file = path === '' ? join(root, name) : join(root, dirname(name), path)
      if (!existsSync(file)) return [`${link}: ${relative(root, file)} is not there`]
      return anchor !== undefined && !anchorsOf(file).includes(anchor) ? [`${link}: no such heading`] : []
    })))
})

test('every script that is named exists', () => {
  const names = scripts.flatMap((script) => [script, script.replace('.mts', ''), script.slice(0, '09_k3s_01'.length)])
  found(within(({ commands }) =>
    commands.flatMap((text) => text.match(/09_k3s_\w+(\.mts)?/g) ?? []).filter((name) => !names.includes(name))))
})

const flagsIn = (text: string): string[] => text.match(/(?<![\w-])--[a-z][a-z-]*/g) ?? []

const flagsOf = (script: string): string[] =>
  [script, 'lib/run/script.mts'].flatMap((file) => {
    const text = readFileSync(join(root, file), 'utf8')
    return [...text.matchAll(/'?\b([a-z][a-z-]*)'?: (?:instead\()?(?:flag|value|output)\(/g)].map(([, name]) => `--${name}`)
  })

test('every flag is one of the script that it stands beside', () => {
  const all = scripts.flatMap(flagsOf)
  found(within(({ commands }) =>
    commands.flatMap((text) => {
      const script = /09_k3s_\w+\.mts/.exec(text)?.[0]
      if (script === undefined && !text.startsWith('--')) return []
      const known = script === undefined || script === '09_k3s_apply_all.mts' ? all : flagsOf(script)
      return flagsIn(text.replace(/#.*/, '')).filter((flag) => !known.includes(flag)).map((flag) => `${text}: ${flag}`)
    })))
})

test('every npm command is in package.json', () => {
  const text = readFileSync(join(root, 'package.json'), 'utf8')
  const known = ['ci', ...Object.keys((JSON.parse(text) as { scripts: object }).scripts)]
  found(within(({ commands }) =>
    commands.map((command) => /^(?:\$ )?npm (?:run )?([\w:]+)/.exec(command)?.[1] ?? 'ci')
      .filter((name) => !known.includes(name))))
})

test('every setting that is named exists', () => {
  const settings = defaultSettings()
  found(within(({ spans }) =>
    spans.filter((text) => /^[a-z]\w*(\.[a-z]\w*)+$/.test(text) && Object.hasOwn(settings, text.split('.')[0]!))
      .filter((text) => valueAt(settings, text.split('.')) === undefined)))
})

test('the step that how-it-works.md shows is the one of the script', () => {
  const page = readFileSync(join(root, 'docs/how-it-works.md'), 'utf8')
  const shown = /^```ts\n(.*?)^```$/ms.exec(page)?.[1]?.split('\n') ?? []
  const lines = readFileSync(join(root, '09_k3s_01_prepare.mts'), 'utf8').split('\n').map((line) => line.trim())
  assert.ok(shown.length > 5)
  found(shown.map((line) => line.trim()).filter((line) => line !== '}' && !lines.includes(line)))
})

test('every file of the project that is named exists', () => {
  found(within(({ spans }) =>
    spans.filter((text) => /^(lib|test|docs|manifests|bench)\/[\w./*-]+$/.test(text))
      .filter((text) => globSync(text, { cwd: root }).length === 0)))
})

test.run()
