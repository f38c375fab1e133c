import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

public class Shop {
    private static final Logger log = LoggerFactory.getLogger(Shop.class);
    static void open(String door) { if (door.isEmpty()) throw new IllegalStateException("no door"); }
    public static void main(String[] args) {
        log.info("shop {} opens", 7); log.debug("lights on"); log.warn("it is cold: {} degrees", 12.5);
        try { try { open(""); } catch (IllegalStateException e) { throw new RuntimeException("cannot open", e); } }
        catch (RuntimeException e) { log.error("closed today", e); }
        log.trace("not shown"); log.info("bye");
    }
}
