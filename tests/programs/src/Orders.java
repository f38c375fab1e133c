import java.util.Map;
import java.util.logging.Level;
import java.util.logging.Logger;

public class Orders {
    private static final Logger log = Logger.getLogger(Orders.class.getName());

    static class OrderException extends RuntimeException {
        OrderException(String message, Throwable cause) { super(message, cause); }
    }

    static int price(String item) {
        Integer price = Map.of("apple", 3).get(item);
        return price;
    }

    static void order(int id, String item) {
        try {
            log.info("order " + id + ": " + price(item));
        } catch (NullPointerException e) {
            throw new OrderException("order " + id + " cannot be priced", e);
        }
    }

    public static void main(String[] args) throws Exception {
        order(1, "apple");
        log.warning("prices are from yesterday");
        try {
            order(2, "plum");
        } catch (OrderException e) {
            log.log(Level.SEVERE, "order 2 is left out", e);
        }
        order(3, "pear");
    }
}
