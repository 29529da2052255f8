import type { Socket } from 'node:net'

type Cell = string | number | boolean | null | string[]

/** What a made-up PostgreSQL answers. */
export type FakePostgres = {
  /** Takes the start-up parameters and the password. Refuses with a code and a message. */
  login?: (parameters: Record<string, string>, password: string) => { code: string; message: string } | undefined
  /** The one row that a query gives, or nothing for none. */
  row: (sql: string) => Record<string, Cell> | undefined
}

const message = (type: string, ...parts: (Buffer | string | number)[]): Buffer => {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'number' ? int(part) : Buffer.from(part))))
  return Buffer.concat([Buffer.from(type), int(body.length + 4), body])
}
const int = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}
const short = (value: number): Buffer => int(value).subarray(2)

// The types as pg_type numbers them: bool, text, int4, text[].
const typeOf = (cell: Cell): number => (Array.isArray(cell) ? 1009 : ({ boolean: 16, number: 23 } as Record<string, number>)[typeof cell] ?? 25)
const textOf = (cell: Cell): string | null =>
  cell === null ? null : Array.isArray(cell) ? `{${cell.join(',')}}` : typeof cell === 'boolean' ? (cell ? 't' : 'f') : String(cell)

const described = (row: Record<string, Cell>): Buffer => message('T', short(Object.keys(row).length), ...Object.entries(row).map(([name, cell]) =>
  Buffer.concat([Buffer.from(`${name}\0`), int(0), short(0), int(typeOf(cell)), short(-1), int(-1), short(0)])))

const dataOf = (row: Record<string, Cell>): Buffer => message('D', short(Object.keys(row).length), ...Object.values(row).map((cell) => {
  const text = textOf(cell)
  return text === null ? int(-1) : Buffer.concat([int(Buffer.byteLength(text)), Buffer.from(text)])
}))

/** Serves a connection as PostgreSQL would (protocol 3.0), as far as the checks go. */
export const fakePostgres = ({ login = () => undefined, row }: FakePostgres) => (socket: Socket): void => {
  let received = Buffer.alloc(0)
  let parameters: Record<string, string> | undefined
  let sql = ''
  const rows = (): Buffer[] => {
    const found = row(sql)
    return [...(found ? [described(found), dataOf(found)] : [message('T', short(0))]), message('C', `SELECT ${found ? 1 : 0}\0`)]
  }
  const ready = message('Z', 'I')
  const answers: Record<string, (body: Buffer) => Buffer[]> = {
    p: (body) => {
      const refused = login(parameters!, body.toString('utf8').replace(/\0$/, ''))
      if (refused) return [message('E', `SFATAL\0C${refused.code}\0M${refused.message}\0\0`)]
      return [message('R', 0), message('K', 4711, 42), ready]
    },
    Q: (body) => {
      sql = body.toString('utf8')
      return [...rows(), ready]
    },
    P: (body) => {
      sql = body.toString('utf8')
      return [message('1')]
    },
    B: () => [message('2')],
    E: rows,
    S: () => [ready],
    X: () => (socket.end(), [])
  }
  socket.on('data', (data: Buffer) => {
    received = Buffer.concat([received, data])
    for (;;) {
      const head = parameters ? 1 : 0
      if (received.length < head + 4 || received.length < head + received.readInt32BE(head)) return
      const type = received.subarray(0, head).toString()
      const end = head + received.readInt32BE(head)
      const body = received.subarray(head + 4, end)
      received = received.subarray(end)
      if (!parameters) {
        const words = body.subarray(4).toString('utf8').split('\0').slice(0, -2)
        parameters = Object.fromEntries(words.flatMap((word, index) => (index % 2 === 0 ? [[word, words[index + 1]!]] : [])))
        socket.write(message('R', 3))
      } else for (const answer of answers[type]?.(body) ?? []) socket.write(answer)
    }
  })
}
