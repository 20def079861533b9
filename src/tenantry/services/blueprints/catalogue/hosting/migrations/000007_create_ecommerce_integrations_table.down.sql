DROP TABLE ecommerce_integrations;
