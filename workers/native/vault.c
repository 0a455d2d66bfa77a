#include "vault.h"

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096 /* of x86-64, the only processor this is built for */
#define SLOTS (PAGE / VAULT_SLOT)

/* The first slot of a page holds this. */
struct vault_page {
    struct vault_page *next;
    uint64_t taken; /* a bit for each slot */
};

_Static_assert(sizeof(struct vault_page) <= VAULT_SLOT, "the head of a page fits into a slot");
_Static_assert(SLOTS == 64, "a page has as many slots as a word has bits");

static struct vault_page *new_page(void)
{
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return NULL;
    }
    /* Both may be refused, and signing goes on: most containers may lock 64 KB or 8 MB. */
    (void)mlock(page, PAGE);
    (void)madvise(page, PAGE, MADV_DONTDUMP);
    ((struct vault_page *)page)->taken = 1;
    return page;
}

static void free_page(struct vault_page *page)
{
    explicit_bzero(page, PAGE);
    (void)munmap(page, PAGE);
}

void *vault_take(struct vault *vault)
{
    struct vault_page *page = vault->pages;
    while (page && page->taken == UINT64_MAX) {
        page = page->next;
    }
    if (!page) {
        page = new_page();
        if (!page) {
            return NULL;
        }
        page->next = vault->pages;
        vault->pages = page;
    }
    int slot = __builtin_ctzll(~page->taken);
    page->taken |= 1ULL << slot;
    return (uint8_t *)page + slot * VAULT_SLOT;
}

void vault_give(struct vault *vault, void *slot)
{
    struct vault_page *page = (struct vault_page *)((uintptr_t)slot & ~(uintptr_t)(PAGE - 1));
    explicit_bzero(slot, VAULT_SLOT);
    page->taken &= ~(1ULL << ((uintptr_t)slot % PAGE / VAULT_SLOT));
    if (page->taken != 1 || (vault->pages == page && !page->next)) {
        return; /* one page is kept, so that a single key does not map and unmap it each time */
    }
    struct vault_page **link = &vault->pages;
    while (*link != page) {
        link = &(*link)->next;
    }
    *link = page->next;
    free_page(page);
}

void vault_close(struct vault *vault)
{
    while (vault->pages) {
        struct vault_page *page = vault->pages;
        vault->pages = page->next;
        free_page(page);
    }
}
