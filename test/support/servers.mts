import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** Runs a server on 127.0.0.1 for as long as the work takes, which gets its port. Its connections are closed then. */
export const withServer = async <Result,>(serve: (socket: Socket) => void, work: (port: number) => Promise<Result>, make: () => Server = createServer): Promise<Result> => {
  const sockets = new Set<Socket>()
  const server = make()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    serve(socket)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  try {
    return await work((server.address() as AddressInfo).port)
  } finally {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
}

/** A port of 127.0.0.1 where nothing listens. */
export const closedPort = (): Promise<number> => withServer(() => {}, async (port) => port)
