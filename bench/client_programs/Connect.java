import java.sql.DriverManager;

/** Ask who and where one is, on the string in CONNECTION. */
public class Connect {
    public static void main(String[] arguments) throws Exception {
        try (var connection = DriverManager.getConnection(System.getenv("CONNECTION"));
                var rows = connection.createStatement()
                        .executeQuery("SELECT current_user || '|' || current_database()")) {
            rows.next();
            System.out.println(rows.getString(1));
        }
    }
}
