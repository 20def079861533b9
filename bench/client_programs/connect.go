// Ask who and where one is, by the driver that is named, on the string in CONNECTION.
package main

import (
	"database/sql"
	"fmt"
	"log"
	"os"

	_ "github.com/jackc/pgx/v4/stdlib"
	_ "github.com/lib/pq"
)

func main() {
	db, err := sql.Open(os.Args[1], os.Getenv("CONNECTION"))
	if err != nil {
		log.Fatal(err)
	}
	var told string
	err = db.QueryRow("SELECT current_user || '|' || current_database()").Scan(&told)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(told)
}
