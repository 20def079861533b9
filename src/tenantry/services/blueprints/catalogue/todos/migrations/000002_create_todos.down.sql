DROP TABLE api.todos;
