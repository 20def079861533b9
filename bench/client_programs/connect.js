// Ask who and where one is, by the client that is named, on the string in CONNECTION.
const QUERY = 'SELECT current_user AS username, current_database() AS database'
const url = process.env.CONNECTION

const clients = {
  async pg() {
    const { Client } = require('pg')
    const client = new Client({ connectionString: url })
    await client.connect()
    const { rows } = await client.query(QUERY)
    await client.end()
    return rows[0]
  },
  async knex() {
    const knex = require('knex')({ client: 'pg', connection: url })
    const { rows } = await knex.raw(QUERY)
    await knex.destroy()
    return rows[0]
  },
  async sequelize() {
    const { Sequelize } = require('sequelize')
    const sequelize = new Sequelize(url, { dialect: 'postgres', logging: false })
    const [rows] = await sequelize.query(QUERY)
    await sequelize.close()
    return rows[0]
  },
  async typeorm() {
    const { DataSource } = require('typeorm')
    const source = await new DataSource({ type: 'postgres', url }).initialize()
    const [row] = await source.query(QUERY)
    await source.destroy()
    return row
  },
  async drizzle() {
    const { drizzle } = require('drizzle-orm/node-postgres')
    const db = drizzle(url)
    const { rows } = await db.execute(QUERY)
    await db.$client.end()
    return rows[0]
  },
  async prisma() {
    const { PrismaPg } = require('@prisma/adapter-pg')
    const { PrismaClient } = require('./generated')
    const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) })
    const [row] = await prisma.$queryRawUnsafe(
      'SELECT current_user::text AS username, current_database()::text AS database'
    )
    await prisma.$disconnect()
    return row
  },
}

clients[process.argv[2]]().then(
  ({ username, database }) => console.log(`${username}|${database}`),
  (error) => {
    console.error(error.code ?? '', error.message, error.cause?.message ?? '')
    process.exit(1)
  }
)
