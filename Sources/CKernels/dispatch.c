int ck_anchor;
