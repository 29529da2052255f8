import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

/** What a person has before them once a page is open, and what the page asked for. */
export type Page = {
  /** The text that is visible. */
  text: string
  headings: string[]
  /** Every address that was requested, the page itself left out. */
  requests: string[]
  /** What the browser complains of in its console. */
  complaints: string[]
  /** Pixels by which the page is wider than the window. */
  overflow: number
  png: Buffer
}

const chromium = '/usr/bin/chromium'

/** Installs Debian's Chromium where it is missing. */
export const needChromium = (): void => {
  if (existsSync(chromium)) return
  if (process.getuid?.() !== 0) throw new Error(`${chromium} is missing: apt-get install chromium`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  execFileSync('apt-get', ['update', '-q'], { env, stdio: 'ignore' })
  execFileSync('apt-get', ['install', '-qy', '--no-install-recommends', 'chromium', 'fonts-dejavu-core'], { env, stdio: 'ignore' })
}

type Message = { id?: number; method?: string; params?: Record<string, unknown>; result?: unknown; error?: { message: string } }

/** Opens an HTML file in Chromium, as wide as said, and looks at it. */
export const openPage = async (file: string, { width = 1280, dark = false } = {}): Promise<Page> => {
  needChromium()
  const url = pathToFileURL(resolve(file)).href
  const profile = mkdtempSync(join(tmpdir(), 'keybuzz-chromium-'))
  const browser = spawn(chromium, [
    '--headless', '--disable-gpu', '--hide-scrollbars', '--no-first-run', '--disable-background-networking',
    '--remote-debugging-port=0', `--user-data-dir=${profile}`,
    ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []), // Chromium refuses root otherwise
    'about:blank'
  ], { stdio: ['ignore', 'ignore', 'pipe'] })
  const gone = new Promise<void>((done) => browser.once('close', () => done()))
  try {
    const { send, on, close } = await connect(await addressOf(browser.stderr))
    const { targetInfos } = await send<{ targetInfos: { type: string; targetId: string }[] }>('Target.getTargets')
    const targetId = targetInfos.find(({ type }) => type === 'page')?.targetId
    const { sessionId } = await send<{ sessionId: string }>('Target.attachToTarget', { targetId, flatten: true })
    const tell = <Result,>(method: string, params?: object): Promise<Result> => send(method, params, sessionId)

    const requests: string[] = []
    const complaints: string[] = []
    on('Network.requestWillBeSent', ({ request }) => requests.push((request as { url: string }).url))
    on('Log.entryAdded', ({ entry }) => complaints.push((entry as { text: string }).text))
    const loaded = new Promise<void>((done) => on('Page.loadEventFired', () => done()))
    for (const domain of ['Page', 'Network', 'Log', 'Runtime']) await tell(`${domain}.enable`)
    await tell('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }] })
    await tell('Emulation.setDeviceMetricsOverride', { width, height: 900, deviceScaleFactor: 1, mobile: false })
    await tell('Page.navigate', { url })
    await loaded

    const evaluate = async <Value,>(expression: string): Promise<Value> =>
      (await tell<{ result: { value: Value } }>('Runtime.evaluate', { expression, returnByValue: true })).result.value
    const text = await evaluate<string>('document.body.innerText')
    const headings = await evaluate<string[]>('[...document.querySelectorAll("h1, h2, h3")].filter((one) => one.checkVisibility()).map((one) => one.innerText)')
    const overflow = await evaluate<number>('document.documentElement.scrollWidth - innerWidth')
    const { data } = await tell<{ data: string }>('Page.captureScreenshot', { captureBeyondViewport: true })
    close()
    return {
      text, headings, complaints, overflow,
      requests: requests.filter((address) => address !== url && !address.startsWith('data:')),
      png: Buffer.from(data, 'base64')
    }
  } finally {
    browser.kill()
    await gone
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
  }
}

const addressOf = async (stderr: NodeJS.ReadableStream): Promise<string> => {
  const said: string[] = []
  for await (const line of createInterface({ input: stderr })) {
    const address = /^DevTools listening on (ws:\S+)/.exec(line)?.[1]
    if (address !== undefined) return address
    said.push(line)
  }
  throw new Error(`Chromium did not start:\n${said.slice(-5).join('\n')}`)
}

type Listener = (params: Record<string, unknown>) => void

// Chromium's DevTools protocol: numbered questions, their answers, and events.
const connect = async (address: string) => {
  const socket = new WebSocket(address)
  await new Promise<void>((done, fail) => {
    socket.onopen = () => done()
    socket.onerror = () => fail(new Error('Chromium does not answer'))
  })
  const waiting = new Map<number, (message: Message) => void>()
  const listeners = new Map<string, Listener>()
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(String(data)) as Message
    if (message.id !== undefined) waiting.get(message.id)?.(message)
    else listeners.get(message.method ?? '')?.(message.params ?? {})
  }
  socket.onclose = () => waiting.forEach((answer) => answer({ error: { message: 'Chromium has ended' } }))
  let last = 0
  return {
    on: (event: string, listener: Listener): void => void listeners.set(event, listener),
    close: (): void => socket.close(),
    send: <Result,>(method: string, params: object = {}, sessionId?: string): Promise<Result> =>
      new Promise((done, fail) => {
        const id = ++last
        waiting.set(id, ({ result, error }) => (error ? fail(new Error(`${method}: ${error.message}`)) : done(result as Result)))
        socket.send(JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) }))
      })
  }
}
